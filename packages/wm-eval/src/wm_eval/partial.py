"""Keeps the answers of an evaluation that is not finished yet. Judges and measures nothing.

One file in the output folder: a first line that says what is being asked, then one line an answer.
A killed evaluation of the same thing goes on from it; of anything else it starts over, and keeps
the file under another name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from wm_eval.answers import Answer, as_json, line, parse
from wm_eval.atomic import replaced
from wm_eval.errors import WmEvalError

NAME = "samples.partial.jsonl"
BEFORE = "samples.partial.jsonl.old"


class Partial:
    """The file of one evaluation: what it holds already, and where more is added.

    `asked` has all that an answer depends on, by name, and `base` what the base's depend on beside
    it: with another base they alone are asked again. `note` says what became of a file that was
    there.
    """

    def __init__(
        self,
        folder: Path,
        asked: Mapping[str, Any],
        base: Any = None,
        between: Callable[[], object] = lambda: None,
    ) -> None:
        self.path = folder / NAME
        self._between = between
        self.key = {name: _digest(value) for name, value in asked.items()}
        self.base = _digest(base)
        self.note = ""
        self.answers = self._read()
        folder.mkdir(parents=True, exist_ok=True)
        # Written anew: a line that a kill cut in two must not stand before the next one.
        with (
            replaced(self.path) as staged,
            staged.open("w", encoding="utf-8", newline="\n") as file,
        ):
            file.write(json.dumps({"key": self.key, "base": self.base}) + "\n")
            file.writelines(line(answer) + "\n" for answer in self.answers.values())

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
        key, base = _first(first)
        found: dict[str, Answer] = {}
        for number, text in enumerate(lines, 2):
            try:
                answer = parse(text, f"{self.path}:{number}")
            except WmEvalError:
                break  # cut by the kill, or the end
            found[answer.id] = answer
        if key != self.key:
            if found:
                self.path.replace(self.path.with_name(BEFORE))
                self.note = (
                    f"starting over: the {len(found):,} answers of {NAME} are of "
                    f"{self._other(key)}; they are kept in {BEFORE}"
                )
            return {}
        if base != self.base:
            found = {id: _without(a) for id, a in found.items() if a.origin != "base"}
        self.note = f"going on with the {len(found):,} answers of {NAME}" if found else ""
        return found

    def _other(self, key: Mapping[str, str]) -> str:
        """What is not as it was when the file was written."""
        names = [name for name in self.key if key.get(name) != self.key[name]]
        if names == ["prompts"]:
            return "other prompts (a chat template may write the date)"
        return f"other {', '.join(names)}" if key else "another evaluation"


def _first(line: str) -> tuple[dict[str, str], str]:
    """What the first line says was asked, and of which base; nothing of one that is not ours."""
    try:
        said = json.loads(line)
        return cast("dict[str, str]", dict(said["key"])), str(said["base"])
    except (ValueError, TypeError, KeyError):
        return {}, ""


def _without(answer: Answer) -> Answer:
    """The answer without what another base said of it."""
    return answer.model_copy(update={"base": {}})


def _digest(value: Any) -> str:
    return hashlib.sha256(as_json(value).encode("utf-8")).hexdigest()


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
