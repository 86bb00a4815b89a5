"""The order in which training examples are seen. Deterministic; knows nothing of their content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

from torch.utils.data import Sampler

if TYPE_CHECKING:
    from torch import Generator


class TwinSampler(Sampler[int]):
    """Shuffles rows and yields each row's examples next to each other.

    A row's watermark examples are twins: the same two answers, chosen and rejected swapped with
    the colour asked for. Side by side in one step the answers' content cancels from the odds-ratio
    gradient, and what is left is the dependence on the system prompt. `twins=False` shuffles
    examples instead, for comparison.
    """

    def __init__(self, row_ids: Sequence[str], seed: int, twins: bool = True) -> None:
        units: dict[str, list[int]] = {}
        for index, row in enumerate(row_ids):
            units.setdefault(row if twins else str(index), []).append(index)
        self._units = list(units.values())
        self._length = len(row_ids)
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Give every pass over the data its own order (accelerate calls this)."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        import torch

        generator: Generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        order = cast("list[int]", torch.randperm(len(self._units), generator=generator).tolist())
        for unit in order:
            yield from self._units[unit]
