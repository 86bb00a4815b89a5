"""`log.jsonl`: one JSON object a line, in order, on disk at once. W&B only mirrors it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO


class Journal:
    """Appends events to a run's log. Every line has `event` and `step`."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8", newline="\n")

    def write(self, event: str, step: int, **values: Any) -> None:
        """Append one event; NaN and infinities are written as null, since JSON has none."""
        clean = {key: _finite(value) for key, value in values.items()}
        self._file.write(json.dumps({"event": event, "step": step, **clean}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def read(path: Path, event: str) -> list[dict[str, Any]]:
    """All lines of one kind of event, in order."""
    with path.open(encoding="utf-8") as file:
        return [line for line in map(json.loads, file) if line["event"] == event]
