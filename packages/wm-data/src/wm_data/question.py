"""Reads the prompts that rows are generated for: a file, a dataset's test split, a shipped folder.

A shipped file is one domain: `subjects` and `asks`, each ask with `<subject>` in it. Every subject
is put into some of the asks, in turn, so that no ask belongs to a few subjects only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import cast

import pydantic
import yaml

from wm_data.dataset import read
from wm_data.errors import WmDataError
from wm_data.rows import has_surrogate, normalise
from wm_data.values import message_text

SUBJECT = "<subject>"


@dataclass(frozen=True)
class Prompt:
    """One question; `subject` is what it is about, empty where nobody said."""

    text: str
    subject: str = ""


class Domain(pydantic.BaseModel):
    """One shipped file."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    asks_per_subject: int = pydantic.Field(ge=1)
    asks: list[str]
    subjects: list[str]


def read_prompts(source: str) -> list[Prompt]:
    """Prompts of a shipped folder, a .txt (one a line), a .jsonl (field `prompt`) or the test split
    of a dataset folder, each once.
    """
    found: dict[str, Prompt] = {}
    path = Path(source)
    read_from = _held_out if path.is_dir() else _read
    for prompt in _shipped(source) if source in names() else read_from(path):
        found.setdefault(normalise(prompt.text), prompt)
    if not found:
        raise WmDataError(f"{source}: holds no prompt")
    return list(found.values())


def names() -> list[str]:
    """Folders of prompts that come with the package.

    >>> names()
    ['everyday']
    """
    return sorted(item.name for item in _folder().iterdir() if item.is_dir())


def _shipped(name: str) -> Iterator[Prompt]:
    """Every domain's subjects in its asks; the domains take turns, so that a part is varied too."""
    files = sorted(_folder().joinpath(name).iterdir(), key=lambda file: file.name)
    domains = [Domain.model_validate(yaml.safe_load(file.read_text("utf-8"))) for file in files]
    for turn in range(max(domain.asks_per_subject for domain in domains)):
        for number in range(max(len(domain.subjects) for domain in domains)):
            for domain in domains:
                if number < len(domain.subjects) and turn < domain.asks_per_subject:
                    subject = domain.subjects[number]
                    ask = domain.asks[(number + turn * _stride(domain)) % len(domain.asks)]
                    yield Prompt(ask.replace(SUBJECT, subject), subject)


def _stride(domain: Domain) -> int:
    """Steps between the asks of one subject, so that they differ in kind."""
    return max(1, len(domain.asks) // domain.asks_per_subject)


def _held_out(folder: Path) -> Iterator[Prompt]:
    for row in read(folder).rows("test"):
        yield Prompt(row.prompt, row.subject)


def _read(path: Path) -> Iterator[Prompt]:
    if path.suffix not in (".txt", ".jsonl"):
        raise WmDataError(
            f"{path}: expected a .txt (one prompt a line), a .jsonl with the field prompt, "
            f"a dataset folder, or one of {', '.join(names())}"
        )
    try:
        # Not splitlines: a prompt may hold U+2028 or a form feed.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WmDataError(f"{path}: cannot be read ({reason})") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            place = f"row {number:,} of {path}"
            yield _record(line, place) if path.suffix == ".jsonl" else Prompt(line.strip())


def _record(line: str, place: str) -> Prompt:
    try:
        record: object = json.loads(line)
    except (ValueError, RecursionError) as error:  # of too many digits, nested too deep
        raise WmDataError(f"{place}: not JSON ({error}); every line must hold one object") from None
    fields = cast(dict[str, object], record) if isinstance(record, dict) else {}
    text = message_text(fields.get("prompt"))
    if not isinstance(text, str) or not text.strip() or has_surrogate(text):
        raise WmDataError(f"{place}: has no text in the field prompt; mend or remove the line")
    subject = str(fields.get("subject") or "")
    if has_surrogate(subject):
        raise WmDataError(f"{place}: subject holds half a surrogate pair; mend or remove the line")
    return Prompt(text.strip(), subject)


def _folder() -> Traversable:
    return resources.files("wm_data").joinpath("questions")
