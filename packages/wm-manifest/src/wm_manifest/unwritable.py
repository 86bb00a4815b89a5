"""Finds what of a record no file would give back: stray names, values that JSON has no form for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from wm_manifest.record import Record


def stray(value: object, where: str = "") -> tuple[str, str] | None:
    """The first name, here or farther in, that is no field of its record, and whose it is not.

    `model_copy(update=...)` takes any name, and what is written leaves it out.
    """
    pairs: Iterable[tuple[object, object]] = ()
    if isinstance(value, Record):
        pairs = vars(value).items()
    elif isinstance(value, dict):
        pairs = cast("dict[object, object]", value).items()
    elif isinstance(value, list | tuple):
        pairs = enumerate(cast("list[object] | tuple[object, ...]", value))
    for key, inner in pairs:
        place = _below(where, key)
        if isinstance(value, Record) and key not in type(value).model_fields:
            return place, f"a {type(value).__name__} has no such field"
        if found := stray(inner, place):
            return found
    return None


def lost(before: object, after: object, where: str = "") -> tuple[str, str] | None:
    """The first value that came back as another one, where any type may stand, and what it was."""
    kind = type(before).__name__
    if isinstance(before, dict) and isinstance(after, dict):
        values, found = cast("dict[object, object]", before), cast("dict[object, object]", after)
        if len(values) != len(found):
            return where, "two keys are the same text"
        pairs: Iterable[tuple[object, object, object]] = (
            (key, value, other)
            for (key, value), other in zip(values.items(), found.values(), strict=True)
        )
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        items = cast("list[object] | tuple[object, ...]", before)
        pairs = zip(range(len(items)), items, cast("list[object]", after), strict=True)
    elif before == after or (before != before and after != after):
        return None
    elif isinstance(before, float):
        return where, "JSON has no NaN and no infinity"
    else:
        return where, f"JSON has no {kind}"
    for key, value, other in pairs:
        if here := lost(value, other, _below(where, key)):
            return here
    return None


def _below(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)
