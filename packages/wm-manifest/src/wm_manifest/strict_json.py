"""Finds what JSON parsers take and no file of ours has. Knows no record's fields."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, cast

# With none of these a file could say two things, or what could not be written again.
TWICE = "stands there twice; leave one of them"
NO_NUMBER = 'is no finite number; write one, or null (a figure\'s NaN is the text "NaN")'
SHOWN = 30  # characters of a number


class _Object(list[tuple[str, Any]]):
    """The keys and values of a JSON object, as often as they stand there."""


class _NoNumber(str):
    """A token that parsers read as NaN or as infinite."""


def fault(text: str) -> tuple[str, str] | None:
    """Where the first key that stands twice is, or NaN or infinity, and what to do; else None.

    None also for what is no JSON at all: whoever reads it says so better.

    >>> fault('{"optim": {"steps": 5, "steps": 0}}')
    ('optim.steps', 'stands there twice; leave one of them')
    """
    try:
        content = json.loads(
            text,
            object_pairs_hook=_Object,
            parse_constant=_NoNumber,
            parse_float=lambda token: _NoNumber(token) if math.isinf(float(token)) else token,
            parse_int=str,  # any is finite, and Python refuses to read thousands of digits
        )
        return _first(content, "")
    except (ValueError, RecursionError):
        return None


def _first(value: object, where: str) -> tuple[str, str] | None:
    if isinstance(value, _NoNumber):
        token = value[:SHOWN] + ("..." if len(value) > SHOWN else "")
        return where or "the file", f"{token} {NO_NUMBER}"
    pairs: Iterable[tuple[object, object]] = ()
    if isinstance(value, _Object):
        pairs = value
    elif isinstance(value, list):
        pairs = enumerate(cast("list[object]", value))
    seen: set[object] = set()
    for key, inner in pairs:
        place = f"{where}.{key}" if where else str(key)
        if key in seen:
            return place, TWICE
        seen.add(key)
        if found := _first(inner, place):
            return found
    return None
