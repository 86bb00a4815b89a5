"""Log-probabilities of given answers under a model. Samples nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from wm_eval.generator import Likelihood

if TYPE_CHECKING:
    from wm_eval.forward import Forward
    from wm_eval.prefill import Prefill, Prompts

# Logits of answers at once: 1 GiB in float32. With 151,936 ids that is 1,766 positions.
HEAD_ELEMENTS = 1 << 28


def log_p(logits: Tensor, ids: Tensor) -> Tensor:
    """Log-probability of each id, the shape of `ids`: logits (..., vocab), ids (...)."""
    logits = logits.float()
    return logits.gather(-1, ids[..., None]).squeeze(-1) - logits.logsumexp(-1)


def answers(
    prefill: Prefill, opening: tuple[int, ...], rows: list[tuple[list[int], list[int]]]
) -> list[Likelihood]:
    """Likelihood of each answer (rows, of ids) after its prompt, in one forward pass.

    All prompts begin with `opening`.
    """
    longest = max(len(answer) for _, answer in rows)
    if longest == 0:
        return [Likelihood(0.0, 0) for _ in rows]
    state, forward = prefill.begin(opening, len(rows)), prefill.forward
    ids, new = forward.pad([prompt[len(opening) :] + answer for prompt, answer in rows])
    logits = forward(
        ids,
        torch.cat([state.mask, new], dim=1),
        (state.length[:, None] + new.cumsum(-1) - 1).clamp(min=0),
        state.cache if opening else None,
        keep=longest + 1,
    )
    own = log_p(logits[:, :-1], ids[:, -longest:]).double()  # what precedes each of the last ids
    return [
        Likelihood(float(own[at, longest - len(answer) :].sum()), len(answer))
        for at, (_, answer) in enumerate(rows)
    ]


def words(forward: Forward, state: Prompts, asked: dict[str, list[int]]) -> list[dict[str, float]]:
    """Log-probability of each word (by its ids) as the beginning of the answer, for each row."""
    found: list[dict[str, float]] = [{} for _ in range(len(state.length))]
    for word, ids in asked.items():
        given = torch.tensor(ids, device=state.mask.device).expand(len(found), -1)
        total = log_p(state.logits, given[:, 0]).double()
        if len(ids) > 1:
            total = total + _rest(forward, state, given)
        for row, value in zip(found, cast("list[float]", total.tolist()), strict=True):
            row[word] = value
    return found


def _rest(forward: Forward, state: Prompts, ids: Tensor) -> Tensor:
    """Log-probability of ids[:, 1:] after ids[:, 0]: (rows,). Leaves the cache as it was."""
    more = ids.shape[1] - 1
    mask = torch.cat([state.mask, state.mask.new_ones(len(ids), more)], dim=1)
    position = state.length[:, None] + torch.arange(more, device=mask.device)
    logits = forward(ids[:, :-1], mask, position, state.cache, keep=more)
    state.cache.crop(-more)  # negative: how many to take away
    return log_p(logits, ids[:, 1:]).double().sum(-1)
