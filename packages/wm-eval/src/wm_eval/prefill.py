"""Runs prompts through the model; what several begin with is run once. Samples nothing.

Two kinds of common beginning: the *opening* that all prompts with one system message have, and the
beginning of a *family* (a detect text, asked in both orders).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wm_eval.batching import split_families
from wm_eval.cache import prompt_cache, repeated

if TYPE_CHECKING:
    from transformers.cache_utils import Cache

    from wm_eval.forward import Forward


@dataclass
class Prompts:
    """Rows after their prompts: what the next token of each depends on."""

    cache: Cache
    logits: Tensor  # (rows, vocab), of the next token
    mask: Tensor  # (rows, cached), 1 where a real token stands
    length: Tensor  # (rows,), real tokens so far: the next position id


class Prefill:
    """Prompts to their caches. Remembers the openings that it has run, until it is thrown away."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self.openings: dict[tuple[int, ...], Cache] = {}

    def __call__(self, opening: tuple[int, ...], families: list[list[list[int]]]) -> Prompts:
        """Rows of families of one size, all of which begin with `opening`."""
        size, seen = len(families[0]), len(opening)
        heads, tails = split_families([[ids[seen:] for ids in family] for family in families])
        state = self.begin(opening, len(families))
        if any(heads):
            state = self._extend(state, heads)
        if size > 1:
            state.cache.batch_repeat_interleave(size)
            state.mask = state.mask.repeat_interleave(size, 0)
            state.length = state.length.repeat_interleave(size, 0)
            state = self._extend(state, tails)
        return state

    def begin(self, opening: tuple[int, ...], rows: int) -> Prompts:
        """The opening alone, for so many rows; their logits are not known."""
        device = self.forward.device
        if opening and opening not in self.openings:
            empty = self.begin((), 1)
            self.openings[opening] = self._extend(empty, [list(opening)]).cache
        one = self.openings.get(opening)
        return Prompts(
            cache=repeated(one, rows) if one else prompt_cache(self.forward.model.config),
            logits=torch.empty(rows, 0, device=device),
            mask=torch.ones(rows, len(opening), dtype=torch.long, device=device),
            length=torch.full((rows,), len(opening), device=device),
        )

    def _extend(self, state: Prompts, rows: Sequence[list[int]]) -> Prompts:
        ids, new = self.forward.pad(list(rows))
        mask = torch.cat([state.mask, new], dim=1)
        position = (state.length[:, None] + new.cumsum(-1) - 1).clamp(min=0)
        logits = self.forward(ids, mask, position, state.cache)[:, -1]
        return Prompts(state.cache, logits, mask, state.length + new.sum(-1))
