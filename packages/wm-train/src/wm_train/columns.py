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

AT_ONCE = 10_000  # examples whose ids are compared


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
    parts = [_equal(data, column, other, start) for start in range(0, len(data), AT_ONCE)]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _equal(data: Dataset, column: str, other: str, start: int) -> Counts:
    """Those of one part: to gather all that are as long would copy a large dataset's ids."""
    table = cast(Any, data.select_columns([column, other]).with_format("arrow"))
    both = [table[start : start + AT_ONCE][name].combine_chunks() for name in (column, other)]
    sizes = [np.asarray(ids.value_lengths()) for ids in both]
    alike = sizes[0] == sizes[1]
    flat = [np.asarray(ids.filter(alike).flatten()) for ids in both]
    places = start + np.flatnonzero(alike)
    owner = np.repeat(places, sizes[0][alike])
    return np.setdiff1d(places, owner[flat[0] != flat[1]])


def _arrow(data: Dataset, column: str) -> Any:
    table = cast(Any, data.select_columns([column]).with_format("arrow"))[:]
    return table[column]
