"""ORPO's loss on mean log-probabilities of answers. Knows no model and no trainer.

Odds-ratio preference optimisation (arXiv 2403.07691) adds to the likelihood of the chosen answer
`y_w` a term that raises its odds over those of the rejected one, `y_l`. With the mean
log-probability of an answer's m tokens

    log P(y|x) = 1/m * sum_t log p(y_t | x, y_<t)                                    (eq. 3)
    odds(y|x)  = P(y|x) / (1 - P(y|x))                                               (eq. 4)
    L          = -log P(y_w|x) - beta * log sigmoid(log odds(y_w|x) - log odds(y_l|x))  (eq. 6, 7)

and log odds(y|x) = log P - log(1 - P). Beyond the paper, both off by default:

- What `y_w` is compared with is the caller's choice; see `wm_train.trainer` for the twin's.
- A sharpness s turns the term into -beta/s * log sigmoid(s * log odds ratio), as DPO and SimPO have
  a factor inside the sigmoid. The gradient of a pair that is undecided stays, beta/2, and that of a
  decided one ends earlier. Two texts that differ in a mark alone differ little: the sampler that
  made SmolLM2's rows gives the ratio 1.3, at a bias of 1. The paper's term asks for more for ever,
  and a model can give more by ruining whatever follows a token of the wrong colour.

TRL's likelihood term runs over prompt and answer together, as one mean over the tokens of a
micro-batch. Here it is the answer's own mean, and rows are averaged: a one-word answer then counts
as much as a long one, whatever else shares its batch. TRL's is to be had as well; its tokens are
counted over the whole optimizer step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

_CEILING = -1e-6  # of a mean log-probability: at 0 the odds are infinite and so is their gradient


class OrpoTerms(NamedTuple):
    """The loss of each row and what it is made of; every tensor has shape (rows,)."""

    loss: Tensor
    nll: Tensor  # of the chosen answer, a token's mean
    odds_ratio: Tensor  # -log sigmoid(s * log odds ratio) / s, before beta
    log_odds_ratio: Tensor  # above 0: the chosen answer has the better odds


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, finite in value and gradient down to `_CEILING`.

    Either formula loses its digits on the other's side of -ln 2 (Mächler 2012). Both branches of
    `where` are differentiated, so each gets an argument that is harmless where it is not chosen.
    """
    import torch

    split = -0.6931471805599453
    far = x < split
    log1p_side = torch.log1p(-torch.exp(torch.where(far, x, split)))
    expm1_side = torch.log(-torch.expm1(torch.where(far, split, x)))
    return torch.where(far, log1p_side, expm1_side)


def log_odds(mean_logp: Tensor) -> Tensor:
    """log(P / (1 - P)) of answers with mean log-probabilities `mean_logp`, any shape."""
    logp = mean_logp.clamp(max=_CEILING)
    return logp - log1mexp(logp)


def orpo(
    chosen: Tensor,
    rejected: Tensor,
    beta: float,
    nll: Tensor | None = None,
    sharpness: Tensor | float = 1.0,
) -> OrpoTerms:
    """ORPO's terms from mean log-probabilities of the chosen and rejected answers, shape (rows,).

    `nll` replaces the likelihood term where it is not the chosen answer's own. A beta of 0 leaves
    the odds ratio out. `sharpness`, above 0, is one for all or of shape (rows,).
    """
    import torch

    ratio = log_odds(chosen) - log_odds(rejected)
    odds_ratio = -torch.nn.functional.logsigmoid(sharpness * ratio) / sharpness
    likelihood = -chosen if nll is None else nll
    return OrpoTerms(likelihood + beta * odds_ratio, likelihood, odds_ratio, ratio)


def held(logps: Tensor, reference: Tensor) -> Tensor:
    """What it costs tokens to have other log-probabilities than the reference model's, (tokens,).

    Half the square of the difference, and its absolute value less a half from 1 on (Huber). The
    half square's gradient over texts that the model writes itself is that of KL(model, reference):
    Schulman's k2, http://joschu.net/blog/kl-approx.html. It is zero, and free of noise, where the
    two agree.
    """
    import torch

    return torch.nn.functional.smooth_l1_loss(logps, reference, reduction="none")


def answer_means(logps: Tensor, edges: Tensor, sequences: Tensor, lengths: Tensor) -> Tensor:
    """Mean log-probability of each answer, shape (answers,).

    `logps` (edges,) are those of single tokens; answer token k is edge `edges[k]` and belongs to
    answer `sequences[k]`, which has `lengths[sequences[k]]` of them. An answer without tokens would
    be 0 / 0: such rows are refused before training.
    """
    import torch

    sums = torch.zeros(len(lengths), dtype=logps.dtype, device=logps.device)
    return sums.index_add(0, sequences, logps[edges]) / lengths
