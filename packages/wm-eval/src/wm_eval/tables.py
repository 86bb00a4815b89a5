"""Reads the parquet files of a dataset folder. Knows their columns by name, not what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from wm_eval.errors import WmEvalError


def table(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Rows of a parquet file, the named columns only; an `optional` one only where it stands."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    unreadable = (OSError, cast("type[Exception]", cast(Any, pa).ArrowInvalid))

    if not path.is_file():
        raise WmEvalError(f"{path} is missing; the dataset folder is not whole, build it again")
    try:
        found = cast(Any, pq).read_table(path)
    except unreadable as error:
        raise WmEvalError(f"{path} cannot be read as parquet: {error}") from error
    missing = [name for name in columns if name not in found.column_names]
    if missing:
        raise WmEvalError(
            f"{path} has no column {missing[0]!r} (it has: {', '.join(found.column_names)}); "
            "was it written by wm-data?"
        )
    wanted = [*columns, *(name for name in optional if name in found.column_names)]
    return cast("list[dict[str, Any]]", found.select(wanted).to_pylist())


def groups_of(folder: Path, split: str) -> set[str]:
    """Prompt groups of one split of a dataset folder."""
    rows = table(folder / "seeds" / f"{split}.parquet", ("group",))
    return {str(row["group"]) for row in rows}
