"""One judged answer, as a record and as a line of samples.jsonl. Computes no figure.

Everything that a metric, a comparison or a report reads is in here: they need no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from wm_eval.atomic import replaced
from wm_eval.errors import WmEvalError

Kind = Literal["ok", "empty", "refused", "truncated", "short", "unparseable"]


class Answer(BaseModel):
    """What was asked, what came back, and how it was judged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    task: Literal["watermark", "detect", "unmarked"]
    group: str
    arm: str
    variant: str
    heldout_wording: bool
    messages: list[dict[str, str]]
    expected: str | None
    text: str  # what was to be judged (detect) or the gold answer of the arm (watermark)
    answer: str
    tokens: int
    stopped: bool
    options: dict[str, float]  # log-probability of each answer word
    kind: Kind
    verdict: str  # watermark: of the rule; detect: the word that was read, or "none"
    even: int
    odd: int
    ignored: int
    passed: bool
    origin: Literal["seed", "band", "own", "base", "none"] = "seed"  # of the text, see Item
    source: str = ""
    band: int | None = None
    # Of a written answer under the base model, when there is one: "log_likelihood", and "tokens".
    base: dict[str, float] = {}

    @property
    def counted(self) -> int:
        """Tokens of the answer that the rule counts."""
        return self.even + self.odd

    def share(self, colour: str) -> float:
        """Share of counted tokens of that colour; 0.0 when nothing counts, as the rule has it."""
        own = self.even if colour == "red" else self.odd
        return own / self.counted if self.counted else 0.0


def write(answers: Iterable[Answer], path: Path) -> None:
    """One line of JSON each, in a file that is there when it is whole."""
    with replaced(path) as staging, staging.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(line(answer) + "\n" for answer in answers)


def line(answer: Answer) -> str:
    """The answer as one line of JSON, keys in the order of the record."""
    return json.dumps(answer.model_dump(), ensure_ascii=False)


def read(path: Path) -> list[Answer]:
    """Answers of a samples.jsonl; the error names the first line at fault."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise WmEvalError(
            f"{path} cannot be read ({error}); is this the folder that wm-eval --out wrote?"
        ) from error
    return [parse(text, f"{path}:{number}") for number, text in enumerate(lines, 1) if text]


def parse(text: str, where: str) -> Answer:
    """One line back into its record."""
    try:
        return Answer.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise WmEvalError(f"{where}: {field}: {first['msg']}; evaluate again") from error


def select(
    answers: Iterable[Answer], task: str, arm: str | None = None, origin: str = "seed"
) -> list[Answer]:
    """Answers of one task and origin, and of one arm when it is given."""
    return [a for a in answers if a.task == task and a.origin == origin and arm in (None, a.arm)]


def pairs(answers: Iterable[Answer], origin: str = "seed") -> list[tuple[Answer, Answer]]:
    """Both orders of each text of the detect task: (blue first, red first)."""
    found: dict[str, dict[str, Answer]] = {}
    for answer in select(answers, "detect", origin=origin):
        found.setdefault(answer.id.rpartition("/")[0], {})[answer.arm] = answer
    return [(both["blue-red"], both["red-blue"]) for both in found.values() if len(both) == 2]


def as_json(value: Any) -> str:
    """Stable JSON of plain data: the same value gives the same bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
