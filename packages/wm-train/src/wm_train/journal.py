"""`log.jsonl`: one JSON object a line, in order, on disk at once. W&B only mirrors it."""

from __future__ import annotations

import json
import os
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


def rewind(path: Path, step: int | None) -> None:
    """Cut the log back to what was known at the checkpoint of `step`; None: to nothing.

    Lines of later steps are written again by the steps themselves. A last line that a kill cut in
    two is dropped. The file is replaced whole.
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
    with staged.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(kept)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def read(path: Path, event: str) -> list[dict[str, Any]]:
    """All lines of one kind of event, in order."""
    with path.open(encoding="utf-8") as file:
        return [line for line in map(json.loads, file) if line["event"] == event]
