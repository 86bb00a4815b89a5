"""Keys and values of rows that are decoded together, written in place. Runs no model.

A cache that grows by concatenation copies itself at every token: with 64 rows of 200 positions that
took half of a decoding step of a 135 M model. Here every row has a slot of fixed room, all rows end
at the same column, and what leaves makes room for what waits.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer

from wm_eval.errors import WmEvalError

SLACK = 64  # columns: the rows are moved back to the first one once in so many steps


class PromptLayer(DynamicLayer):
    """Keeps every position, in layers with a sliding window too: what is seen is the mask's."""

    def __init__(self, is_sliding: bool = False) -> None:
        super().__init__()
        self.is_sliding = is_sliding


def prompt_cache(config: Any) -> Cache:
    """An empty cache for prompts: every layer of the model's attention, nothing forgotten."""
    layers = DynamicCache(config=config).layers
    for layer in layers:
        if type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer):
            raise WmEvalError(
                f"this {getattr(config, 'model_type', 'model')} keeps more than keys and values "
                f"({type(layer).__name__}); wm-eval runs models of plain or sliding attention"
            )
    return Cache(
        layers=[PromptLayer(bool(getattr(layer, "is_sliding", False))) for layer in layers]
    )


def repeated(cache: Cache, rows: int) -> Cache:
    """The cache of one row, for `rows` rows. Shares memory with it until it is written to."""
    layers: list[Any] = []
    for one in cast("list[Any]", cache.layers):
        layer: Any = PromptLayer(one.is_sliding)
        layer.lazy_initialization(one.keys, one.values)
        layer.keys, layer.values = (x.expand(rows, -1, -1, -1) for x in (one.keys, one.values))
        layers.append(layer)
    return Cache(layers=layers)


class RowLayer(CacheLayerMixin):
    """One layer's view of `Rows`: columns from `start` to `end` are what attention sees."""

    def __init__(self, rows: Rows, is_sliding: bool) -> None:
        super().__init__()
        self.rows, self.is_sliding = rows, is_sliding

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        slots, capacity = self.rows.slots, self.rows.capacity
        # Zeros and not whatever memory holds: a masked NaN is still a NaN after the softmax.
        self.keys, self.values = (
            x.new_zeros(slots, x.shape[1], capacity, x.shape[3]) for x in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write new columns behind those that are there; keys and values that attention sees."""
        assert self.keys is not None
        assert self.values is not None
        count, end = key_states.shape[0], self.rows.end + key_states.shape[2]
        self.keys[:count, :, self.rows.end : end] = key_states
        self.values[:count, :, self.rows.end : end] = value_states
        seen = slice(self.rows.start, end)
        return self.keys[:count, :, seen], self.values[:count, :, seen]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return self.rows.end - self.rows.start

    def get_max_length(self) -> int:
        return -1


class Rows:
    """Room for `slots` rows of at most `longest` positions each; the first `len(length)` are used.

    Row i's own keys are the last `length[i]` of the columns before `end`.
    """

    def __init__(self, config: Any, slots: int, longest: int, device: Any) -> None:
        self.slots, self.capacity = slots, longest + SLACK
        self.start = self.end = 0
        self.length = torch.zeros(0, dtype=torch.long, device=device)
        self.cache = Cache(
            layers=[RowLayer(self, sliding) for sliding in prompt_cache(config).is_sliding]
        )

    def mask(self) -> Tensor:
        """(rows, columns seen with one more token): 1 where a key is the row's own."""
        width = self.end + 1 - self.start
        column = torch.arange(width, device=self.length.device)
        return (column >= width - 1 - self.length[:, None]).long()

    def grown(self) -> None:
        """Every row has had one more token written."""
        self.end += 1
        self.length += 1
        if self.end == self.capacity:
            self._shift(self.end - self.start)

    def add(self, prompts: Cache, mask: Tensor) -> None:
        """Put prompts (rows, columns) behind the rows that are there, without their padding."""
        length = mask.sum(-1)
        width = int(length.max())
        if width > self.end or self.end >= self.capacity:
            self._shift(max(width, self.end - self.start))
        first = len(self.length)
        slots = slice(first, first + len(length))
        # Real columns last, in their order. Padding stands between opening and end of a prompt too.
        order = mask.argsort(dim=1, stable=True)[:, -width:, None]
        for layer, given in zip(self.cache.layers, prompts.layers, strict=True):
            own, new = _tensors(layer, given), _tensors(given)
            for room, x in zip(own, new, strict=True):
                room[slots, :, : self.end - width] = 0.0  # of whoever had the slot before
                index = order[:, None].expand(-1, x.shape[1], -1, x.shape[3])
                room[slots, :, self.end - width : self.end] = x.gather(2, index)
        self.length = torch.cat([self.length, length])
        self._see()

    def keep(self, holes: list[int], movers: list[int], count: int) -> None:
        """Rows `movers` take the slots `holes`; then the first `count` are left."""
        if holes:
            to, of = (torch.tensor(x, device=self.length.device) for x in (holes, movers))
            self.length[to] = self.length[of]
            for layer in self.cache.layers:
                for room in _tensors(layer):
                    room[to, :, : self.end] = room[of, :, : self.end]
        self.length = self.length[:count]
        self._see()

    def _see(self) -> None:
        longest = int(self.length.max()) if len(self.length) else 0
        self.start = self.end - longest

    def _shift(self, end: int) -> None:
        """Move all rows so that they end at column `end`."""
        start, used = end - (self.end - self.start), slice(0, len(self.length))
        for layer in self.cache.layers:
            for room in _tensors(layer) if len(self.length) else ():
                block = room[used, :, self.start : self.end].clone()
                room[used, :, :start] = 0.0
                room[used, :, start:end] = block
        self.start, self.end = start, end


def _tensors(layer: Any, like: Any = None) -> tuple[Tensor, Tensor]:
    """Keys and values of a layer, made first in the shapes of another where it has none yet."""
    if not layer.is_initialized:
        layer.lazy_initialization(like.keys, like.values)
    return layer.keys, layer.values
