"""The examples of a split, read from the disk some at a time: all of a large one take gigabytes."""

# pyarrow has no types: what comes out of it is unknown to pyright.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import pyarrow.parquet as pq

ROWS = 1000  # at a time, where nobody says how many


@dataclass(frozen=True)
class Stream:
    """What a `datasets.Dataset` of the same file gives in its order, without holding it."""

    path: Path

    @cached_property
    def _described(self) -> Any:
        return pq.read_metadata(self.path)

    @property
    def column_names(self) -> list[str]:
        return cast("list[str]", self._described.schema.to_arrow_schema().names)

    def __len__(self) -> int:
        return cast(int, self._described.num_rows)

    def iter(self, batch_size: int = ROWS) -> Iterator[dict[str, list[Any]]]:
        """Columns of at most `batch_size` examples at a time."""
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size):
                yield cast("dict[str, list[Any]]", batch.to_pydict())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One example after another."""
        for batch in self.iter():
            for values in zip(*batch.values(), strict=True):
                yield dict(zip(batch, values, strict=True))
