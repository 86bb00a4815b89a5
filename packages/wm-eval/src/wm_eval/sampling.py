"""Draws one token a row from warped logits, each row from its own uniform numbers.

Knows nothing of models. A row's draw depends on its logits and its seed alone, never on which rows
share its batch or on torch's global generator.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def uniforms(seeds: Sequence[int], steps: int) -> Tensor:
    """One number in [0, 1) for each row and step, from the row's own generator: (rows, steps).

    A longer draw begins with the numbers of a shorter one, so a larger token limit changes no
    answer that ended before.
    """
    rows = [torch.rand(steps, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, steps)


def draw(logits: Tensor, u: Tensor, temperature: float, top_p: float, top_k: int) -> Tensor:
    """Ids (rows,) by inverse transform sampling of logits (rows, vocab) at u (rows,).

    Warps in the order of transformers' `generate`: temperature, top-k, top-p. Temperature 0 is
    greedy; top_k 0 keeps the whole vocabulary.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    keep = min(top_k, logits.shape[-1]) if top_k > 0 else logits.shape[-1]
    values, ids = logits.float().topk(keep, dim=-1)  # (rows, keep), largest first
    p = (values / temperature).softmax(dim=-1)
    before = p.cumsum(dim=-1) - p
    # The most likely token always stays; rounding in the sum must not take it away.
    p = p.masked_fill(before >= top_p, 0.0) if top_p < 1 else p
    reached = p.cumsum(dim=-1)
    at = torch.searchsorted(reached, u[:, None] * reached[:, -1:], right=True)
    # u is below 1, but u * total may round up to the total: never step onto a token of zero weight.
    last = (p > 0).sum(dim=-1, keepdim=True) - 1
    return ids.gather(-1, torch.minimum(at, last)).squeeze(-1)
