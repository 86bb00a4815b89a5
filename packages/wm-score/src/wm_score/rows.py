"""Puts figures into a row of JSON lines and leaves the rest as it was written. Scores nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

KEY = "wm_score"
_decode = json.JSONDecoder(parse_int=len).raw_decode  # values are kept as they are written


def with_record(line: str, record: dict[str, Any]) -> str:
    """The JSON object in `line` with `wm_score` as its last member, in place of one it had.

    Read and written again, 1e400 would become Infinity, which is no JSON, and 1.50 would be 1.5.

    >>> with_record('{"wm_score": null, "n": 1.50}', {"even": 2})
    '{"n": 1.50, "wm_score": {"even": 2}}'
    """
    kept = ", ".join(text for key, text in members(line) if key != KEY)
    return f"{{{kept}{', ' if kept else ''}{json.dumps(KEY)}: {json.dumps(record)}}}"


def members(line: str) -> Iterator[tuple[str, str]]:
    """Name and text of each member of the JSON object in `line`, which must be one."""
    at = _past_space(line, line.index("{") + 1)
    while line[at] != "}":
        start = at
        key, at = _decode(line, at)
        at = _past_space(line, _past_space(line, at) + 1)  # over the colon
        at = _decode(line, at)[1]
        yield key, line[start:at]
        at = _past_space(line, at)
        if line[at] == ",":
            at = _past_space(line, at + 1)


def _past_space(line: str, at: int) -> int:
    while line[at] in " \t\n\r":
        at += 1
    return at
