"""What a pack adds to the loss of its step, from the log-probabilities of its tokens.

Runs no model. The formulas are in `loss`; here is which answer is compared with which, and what
each part weighs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from wm_train.loss import answer_means, held, orpo

if TYPE_CHECKING:
    from torch import Tensor

    from wm_train.meter import Meter
    from wm_train.packing import Pack

Scope = Literal["answer", "full"]
Contrast = Literal["answers", "prompts"]


@dataclass
class StepLoss:
    """ORPO on pairs of both tasks, and the hold on texts under neutral prompts.

    `weights` and `sharpness` have one number a task, in the order of `wm_train.packing.TASKS`.

    `contrast="prompts"` compares a written answer's odds with those of the same answer under the
    other colour's prompt, and not with the other answer's: the row's two watermark pairs trade
    their rejected answers. Which of two texts is the likelier one has then no part in the ratio.

    `nll_scope="full"` takes the likelihood of prompt and answer together, as TRL does.
    """

    beta: float
    nll_scope: Scope
    contrast: Contrast
    weights: Tensor  # (tasks,)
    sharpness: Tensor  # (tasks,)
    neutral_weight: float
    meter: Meter

    def __call__(self, logps: Tensor, pack: Pack, pairs: int, tokens: int) -> Tensor:
        """This pack's part of the step's loss, a scalar; `pairs` and `tokens` count the whole step.

        `logps`, of shape (edges,), are of the tokens that the pack wants predicted.
        """
        if pack.neutral:
            return self._neutral(logps, pack) / pairs
        means = answer_means(logps, pack.answer_edges, pack.answer_sequences, pack.answer_lengths)
        chosen, rejected = means.chunk(2)
        if self.contrast == "prompts":
            rejected = rejected[pack.twins]
        terms = orpo(chosen, rejected, self.beta, sharpness=self.sharpness[pack.tasks])
        self.meter.add(terms, chosen, rejected, pack)
        weights = self.weights[pack.tasks]
        if self.nll_scope == "answer":
            return (weights * terms.loss).sum() / pairs
        nll = -(weights[pack.text_pairs] * logps[pack.text_edges]).sum() / tokens
        return nll + self.beta * (weights * terms.odds_ratio).sum() / pairs

    def _neutral(self, logps: Tensor, pack: Pack) -> Tensor:
        """What a pack of texts under neutral prompts costs, summed over its texts.

        Tokens are held to the base, and the end is learnt: where an answer ends its row says, and a
        base that would go on is no measure of that.
        """
        own = logps[pack.answer_edges]
        ends = pack.answer_lengths.cumsum(0) - 1  # (texts,)
        costs = held(own, pack.reference.to(own.dtype)).index_fill(0, ends, 0.0)
        each = torch.arange(len(costs), device=costs.device)
        texts = answer_means(costs, each, pack.answer_sequences, pack.answer_lengths)
        surprise = -own[ends]  # (texts,), at the end
        self.meter.add_neutral(texts, surprise, pack)
        return self.neutral_weight * (texts + surprise / pack.answer_lengths).sum()
