"""Nulls out of files: the shipped ones, and those that `wm-score calibrate` wrote. Fits none."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from wm_score.errors import InputError
from wm_score.null import CENTRE, FORMAT, Null
from wm_score.tables import CODEBOOK, read

DEFAULT = "default"  # the most cautious over the shipped nulls
FEWEST = 99  # pieces; with fewer no p could reach 0.01
LONGEST = 1 << 20  # distinct ids; there are no more
MOST_DISPERSED = 1000.0


@cache
def shipped() -> dict[str, Null]:
    """The nulls that come with the package, by name."""
    records: list[dict[str, Any]] = json.loads(read("nulls.json"))
    return {
        record["name"]: replace(from_record(record), lowest_by_document=False) for record in records
    }


def load(path: str) -> Null:
    """A null from a file that `wm-score calibrate` wrote. Raises InputError."""
    try:
        record: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise InputError(f"null {path}: {problem.strerror or problem}") from None
    except (ValueError, RecursionError) as problem:
        raise InputError(
            f"null {path}: not JSON ({problem}); make it with `wm-score calibrate`"
        ) from None
    if not isinstance(record, dict) or cast(Any, record).get("format") != FORMAT:
        raise InputError(f'null {path}: no "format": "{FORMAT}"; make it with `wm-score calibrate`')
    try:
        null = from_record(cast("dict[str, Any]", record))
    except (LookupError, TypeError, ValueError, OverflowError) as problem:
        raise InputError(f"null {path}: {problem!r}; make it with `wm-score calibrate`") from None
    if null.name in reserved():
        raise InputError(
            f"null {path}: its name {null.name!r} is that of a shipped null; "
            "make it anew with another --name"
        )
    return null


def reserved() -> Sequence[str]:
    """Names that mean a shipped null and nothing else."""
    return [DEFAULT, *shipped()]


def from_record(record: dict[str, Any]) -> Null:
    """A null from its JSON object. Raises LookupError, TypeError or ValueError if it is none."""
    if record["codebook"] != CODEBOOK:
        raise ValueError(f"codebook {record['codebook']!r}, expected {CODEBOOK!r}")
    share, dispersion, reach = record["share"], record["dispersion"], record["reach"]
    red, blue = sorted(map(float, record["red"])), sorted(map(float, record["blue"]))
    if len(red) < FEWEST or len(red) != len(blue):
        raise ValueError(f"{len(red)} red and {len(blue)} blue tails, expected {FEWEST} or more")
    null = Null(
        name=str(record["name"]),
        source=str(record["source"]),
        documents=int(record["documents"]),
        share=(float(share[0]), float(share[1])),
        dispersion=(float(dispersion[0]), float(dispersion[1])),
        reach=(int(reach[0]), int(reach[1])),
        red=tuple(red),
        blue=tuple(blue),
    )
    check(null)
    return null


def check(null: Null) -> None:
    """Raises ValueError for figures that no text can give, NaN among them."""
    low, high = null.reach
    shares, dispersions = _at_ends(null.share, null.reach), _at_ends(null.dispersion, null.reach)
    for field, possible in {
        "reach": 1 <= low <= high <= LONGEST,
        "share": all(0 < share < 1 for share in shares),
        # At 64 ids, which may be out of reach, a line can be below zero; `expected` has a floor.
        "dispersion": all(math.isfinite(one) and one < MOST_DISPERSED for one in dispersions),
        "documents": null.documents >= 1,
        "red": all(0 <= tail <= 1 for tail in null.red),
        "blue": all(0 <= tail <= 1 for tail in null.blue),
    }.items():
        if not possible:
            raise ValueError(f"{field} {repr(getattr(null, field))[:40]} is impossible")


def _at_ends(line: tuple[float, float], reach: tuple[int, int]) -> list[float]:
    """A line's values at the two ends of the reach."""
    return [line[0] + line[1] * math.log2(max(1, end) / CENTRE) for end in reach]
