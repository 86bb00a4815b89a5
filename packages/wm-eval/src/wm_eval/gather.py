"""Every answer that one evaluation needs, asked so that no part changes another. Measures nothing.

The extras are asked apart from the items: in batches of their own, they change no other answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wm_eval import controls
from wm_eval.answers import Answer
from wm_eval.asking import ask, ask_base, request, weigh
from wm_eval.generator import Generator
from wm_eval.judge import unmarked
from wm_eval.partial import Partial
from wm_eval.question import Dataset
from wm_eval.start import Start, asked_sha256, base_arm
from wm_eval.texts import own_texts
from wm_manifest import Decoding


@dataclass(frozen=True)
class Source:
    """Whom to ask, and how: all that answers depend on beside the data.

    `settings` say, by name and as plain data, how prompts are written and the model computes: the
    base's answers of a training's first evaluation, `start`, are taken at `step` only where these
    were alike.
    """

    model: Generator
    base: Generator | None
    decoding: Decoding
    extras: bool
    start: Start | None
    step: int | None
    settings: Mapping[str, Any]

    def questions_sha256(self, data: Dataset) -> str:
        """Hash of what the base model would be asked, and of the settings."""
        questions = [request(item, self.decoding) for item in data.watermark]
        return asked_sha256(questions, self.decoding.model_dump(), *self.settings.values())


@dataclass(frozen=True)
class Gathered:
    """All answers, judged; where the base's come from, and the rows that memory was enough for."""

    answers: list[Answer]
    base: Literal["step 0", "asked"] | None
    batch_size: int


def gather(source: Source, data: Dataset, progress: bool, partial: Partial | None) -> Gathered:
    """Ask the model and its base. What `partial` holds is not asked again."""
    decoding = source.decoding
    answers = ask(source.model, [*data.watermark, *data.detect], decoding, progress, partial)
    if source.extras:
        answers += ask(source.model, data.bands, decoding, progress, partial)
        own = own_texts(answers, controls.detect_wordings(data), decoding.seed)
        answers += ask(source.model, own, decoding, progress, partial)
    base, kind = source.base, None
    if (taken := _of_start(source, data)) is not None:
        answers += taken
        kind = "step 0"
    elif base is not None:
        arm = ask_base(base, data.watermark, decoding, progress, partial)
        if arm is None:
            base = None
        else:
            answers += arm
            kind = "asked"
    if base is not None:
        answers = weigh(base, answers, progress, partial)
    # Halved on the way, where memory was not enough.
    rows = min(getattr(one, "batch_size", decoding.batch_size) for one in (source.model, base))
    return Gathered([*answers, *map(unmarked, data.unmarked)], kind, rows)


def _of_start(source: Source, data: Dataset) -> list[Answer] | None:
    """The base's answers out of the training's first evaluation, where they are of use."""
    if source.start is None or not source.step or not source.extras:
        return None
    asked, can_ask = source.questions_sha256(data), source.base is not None
    return base_arm(source.start, asked, data.watermark, source.step, can_ask)
