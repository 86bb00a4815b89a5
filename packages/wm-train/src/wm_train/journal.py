"""`log.jsonl`: one JSON object a line, in order, on disk at once. W&B only mirrors it."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

SPARE = 3  # last lines of an event that are kept while its last whole one is looked for


class Journal:
    """Appends events to a run's log. Every line has `event` and `step`."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8", newline="\n")

    def write(self, event: str, step: int, **values: Any) -> None:
        """Append one event; NaN and infinities are written as null, since JSON has none."""
        line = finite({"event": event, "step": step, **values})
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file. A line that a full disk did not take was an error when it was written."""
        with suppress(OSError):
            self._file.close()


def rewind(path: Path, step: int | None) -> None:
    """Cut the log back to what was known at the checkpoint of `step`; None: to nothing.

    Lines of later steps are written again by the steps themselves. A last line that a kill cut in
    two is dropped. The file is replaced whole, or not at all.
    """
    if not path.is_file():
        return
    kept: list[str] = []
    for text in path.read_text("utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # cut by the kill
        if step is not None and line["step"] <= step:
            kept.append(text + "\n")
    staged = path.with_suffix(".staged")
    try:
        with staged.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(kept)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def finite(value: Any) -> Any:
    """`value` with null for every NaN and infinity in it, however deep.

    >>> finite({"loss": float("nan"), "figures": {"lift": [0.5, float("inf")]}})
    {'loss': None, 'figures': {'lift': [0.5, None]}}
    """
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in cast("list[Any] | tuple[Any, ...]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(path: Path, event: str) -> list[dict[str, Any]]:
    """All lines of one kind of event, in order."""
    with path.open(encoding="utf-8") as file:
        return [line for line in map(json.loads, file) if line["event"] == event]


def last(path: Path) -> dict[str, dict[str, Any]]:
    """The last whole line of each event; what is torn or damaged is passed over.

    Reads a log that is being written; an evaluation's line is long, so only last ones are parsed.
    """
    newest: dict[bytes, deque[bytes]] = defaultdict(lambda: deque(maxlen=SPARE))
    with path.open("rb") as file:
        for line in file:
            newest[line.partition(b",")[0]].append(line)
    whole = (next(filter(None, map(_parsed, reversed(lines))), None) for lines in newest.values())
    return {line["event"]: line for line in whole if line is not None}


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        line: Any = json.loads(text)
        whole = isinstance(line["step"], int) and isinstance(line["event"], str)
    except (ValueError, TypeError, KeyError):
        return None
    return line if whole else None
