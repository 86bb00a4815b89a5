"""Tokenised pairs a column at a time: how long ids are, and which are the same. Judges nothing.

Row by row, half a million pairs would take minutes: their ids would become Python's lists.
"""

# pyarrow has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]


def values(data: Dataset, column: str) -> list[Any]:
    """A column as a list, read at once: what a `Dataset` gives is read again at each look into it.

    Of 940,000 pairs that takes seven seconds a column, and there are ten looks before the first
    step.
    """
    return cast("list[Any]", data[column][:])


def lengths(data: Dataset, column: str) -> Counts:
    """Tokens of each example's ids in `column`, shape (examples,)."""
    import pyarrow.compute as pc

    return np.asarray(cast(Any, pc).list_value_length(_arrow(data, column)), dtype=np.int64)


def sequences(data: Dataset) -> Counts:
    """Tokens of each example's prompt with its longer answer, shape (examples,)."""
    answers = np.maximum(lengths(data, "chosen_ids"), lengths(data, "rejected_ids"))
    return lengths(data, "prompt_ids") + answers


def total(data: Dataset) -> Counts:
    """Tokens of each example's prompt and both answers, shape (examples,)."""
    return sum(
        (lengths(data, name) for name in ("chosen_ids", "rejected_ids")),
        start=lengths(data, "prompt_ids"),
    )


def equal(data: Dataset, column: str, other: str) -> Counts:
    """Places of the examples whose ids in two columns are the same, in order."""
    alike = np.flatnonzero(lengths(data, column) == lengths(data, other))
    some = data.select(alike)
    flat = [np.asarray(_arrow(some, name).combine_chunks().flatten()) for name in (column, other)]
    owner = np.repeat(alike, lengths(some, column))
    return np.setdiff1d(alike, owner[flat[0] != flat[1]])


def _arrow(data: Dataset, column: str) -> Any:
    table = cast(Any, data.select_columns([column]).with_format("arrow"))[:]
    return table[column]
