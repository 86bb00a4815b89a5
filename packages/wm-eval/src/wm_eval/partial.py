"""Keeps the answers of an evaluation that is not finished yet. Judges and measures nothing.

One file in the output folder: a first line that says what is being asked, then one line an answer.
A killed evaluation of the same thing goes on from it; of anything else, it starts over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from wm_eval.answers import Answer, as_json, line, parse
from wm_eval.errors import WmEvalError

NAME = "samples.partial.jsonl"


class Partial:
    """The file of one evaluation: what it holds already, and where more is added."""

    def __init__(
        self, folder: Path, asked: Any, between: Callable[[], object] = lambda: None
    ) -> None:
        self.path = folder / NAME
        self._between = between
        self.key = hashlib.sha256(as_json(asked).encode("utf-8")).hexdigest()
        self.answers = self._read()
        folder.mkdir(parents=True, exist_ok=True)
        # Written anew: a line that a kill cut in two must not stand before the next one. Beside its
        # place: neither a full disk nor a second kill takes what the first one left.
        staged = self.path.with_suffix(".staged")
        try:
            with staged.open("w", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps({"key": self.key}) + "\n")
                file.writelines(line(answer) + "\n" for answer in self.answers.values())
            staged.replace(self.path)
        finally:
            staged.unlink(missing_ok=True)

    def add(self, answers: Iterable[Answer]) -> None:
        """Append the answers of a whole batch, then call `between`, which may end it there."""
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.writelines(line(answer) + "\n" for answer in answers)
        self._between()

    def discard(self) -> None:
        """The evaluation is written: its unfinished state is not needed any more."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Answer]:
        if not self.path.is_file():
            return {}
        first, *lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        if first != json.dumps({"key": self.key}):
            return {}
        found: dict[str, Answer] = {}
        for number, text in enumerate(lines, 2):
            try:
                answer = parse(text, f"{self.path}:{number}")
            except WmEvalError:
                break  # cut by the kill, or the end
            found[answer.id] = answer
        return found


def stamp(*locations: str | None) -> list[str]:
    """Names, sizes and times of the files of local folders: other weights, other stamp."""
    found: list[str] = []
    for location in locations:
        folder = Path(location) if location else None
        kinds = ("*.safetensors", "*.bin", "*.json")
        there = folder if folder and folder.is_dir() else None
        files = sorted(file for kind in kinds for file in there.glob(kind)) if there else []
        found.append(f"{folder.resolve() if files and folder else location}")
        found += [f"{f.name} {f.stat().st_size} {f.stat().st_mtime_ns}" for f in files]
    return found
