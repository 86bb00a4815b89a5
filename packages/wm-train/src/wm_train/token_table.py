"""Token ids of many examples in Arrow's memory: 4 bytes an id; a Python list takes 8 and more.

120,000 rows of two answers of 250 tokens are 300 million ids.
"""

# pyarrow has no types: what comes out of it is unknown to pyright.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from datasets import Dataset

NAMES = ("id", "row_id", "task")
IDS = ("prompt_ids", "chosen_ids", "rejected_ids")
SCHEMA = pa.schema(
    [(name, pa.string()) for name in NAMES] + [(name, pa.list_(pa.int32())) for name in IDS]
)
BATCH_ROWS = 4_096


class TokenTable:
    """Grows row by row; what is full stands in Arrow's memory."""

    def __init__(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._start()

    def append(self, names: Sequence[str], ids: Sequence[Sequence[int]]) -> None:
        """A row: its `NAMES` and its `IDS`."""
        for column, name in zip(self._names, names, strict=True):
            column.append(name)
        for flat, ends, row in zip(self._ids, self._ends, ids, strict=True):
            flat.extend(row)
            ends.append(len(flat))
        if len(self._names[0]) == BATCH_ROWS:
            self._flush()

    def without(self, row_ids: Collection[str]) -> Dataset:
        """All rows but those of `row_ids`, in their order."""
        from datasets import Dataset

        self._flush()
        table = pa.Table.from_batches(self._batches, SCHEMA)
        if row_ids:
            out = set(row_ids)
            table = table.filter(pa.array([row not in out for row in table["row_id"].to_pylist()]))
        return Dataset(table)

    def _start(self) -> None:
        self._names: list[list[str]] = [[] for _ in NAMES]
        self._ids = [array("i") for _ in IDS]
        self._ends = [array("i", [0]) for _ in IDS]

    def _flush(self) -> None:
        columns = [pa.array(column, pa.string()) for column in self._names]
        columns += [
            pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(flat, pa.int32()))
            for ends, flat in zip(self._ends, self._ids, strict=True)
        ]
        self._batches.append(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
        self._start()
