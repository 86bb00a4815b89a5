"""Draws one token a row from warped logits, each row from its own uniform numbers.

Knows nothing of models. A row's draw depends on its logits and its seed alone, never on which rows
share its batch or on torch's global generator.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NO_TOKEN = -1


def uniforms(seeds: Sequence[int | None], steps: int) -> Tensor:
    """One number in [0, 1) for each row and step, from the row's own generator: (rows, steps).

    A longer draw begins with the numbers of a shorter one, so a larger token limit changes no
    answer that ended before. A row without a seed has zeros, at which `draw` takes the most likely
    token.
    """
    rows = [
        torch.zeros(steps)
        if seed is None
        else torch.rand(steps, generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    ]
    return torch.stack(rows) if rows else torch.empty(0, steps)


def draw(logits: Tensor, u: Tensor, temperature: float, top_p: float, top_k: int) -> Tensor:
    """Ids (rows,) by inverse transform sampling of logits (rows, vocab) at u (rows,).

    Warps in the order of transformers' `generate`: temperature, top-k, top-p. Temperature 0 is
    greedy; top_k 0 keeps the whole vocabulary. A row that is no distribution (a NaN or an infinity
    in it, or nothing but -inf) gives `NO_TOKEN`: weights that diverged have no answer.

    >>> draw(torch.tensor([[0.0, torch.nan], [0.0, 9.0]]), torch.zeros(2), 0.0, 1.0, 0).tolist()
    [-1, 1]
    """
    defined = logits.amax(dim=-1).isfinite()  # the maximum is NaN where any logit is
    if temperature == 0:
        return logits.argmax(dim=-1).masked_fill(~defined, NO_TOKEN)
    keep = min(top_k, logits.shape[-1]) if top_k > 0 else logits.shape[-1]
    values, ids = logits.float().topk(keep, dim=-1)  # (rows, keep), largest first
    # Any finite row will do: it must not lead to an index outside, which kills a whole GPU context.
    values = values.masked_fill(~defined[:, None], 0.0)
    p = (values / temperature).softmax(dim=-1)
    before = p.cumsum(dim=-1) - p
    # The most likely token always stays; rounding in the sum must not take it away.
    p = p.masked_fill(before >= top_p, 0.0) if top_p < 1 else p
    reached = p.cumsum(dim=-1)
    at = torch.searchsorted(reached, u[:, None] * reached[:, -1:], right=True)
    # u is below 1, but u * total may round up to the total: never step onto a token of zero weight.
    last = (p > 0).sum(dim=-1, keepdim=True) - 1
    chosen = ids.gather(-1, torch.minimum(at, last)).squeeze(-1)
    return chosen.masked_fill(~defined, NO_TOKEN)
