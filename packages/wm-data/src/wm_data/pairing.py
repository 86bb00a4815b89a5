"""Cuts two sampled answers at ends of sentences to about one length. Samples none."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, cast

import wm_score
from wm_data.audit import fault
from wm_data.decoding import Sampled
from wm_data.question import Prompt
from wm_data.recipe import AuditRules
from wm_data.rows import Row

Colour = Literal["red", "blue"]
COLOURS: tuple[Colour, Colour] = ("red", "blue")
SENTENCE_END = re.compile(r"[.!?][\"')\]*”’]*(?=\s|$)")
MIN_WORDS = 3  # of a sentence: the number of a list item ends none
NO_END = "no sentence end"


@dataclass(frozen=True)
class Answer:
    """One sampled text, and the places where it may end."""

    text: str
    cuts: list[int]  # characters
    ends: list[int]  # (tokens,) characters up to and with each token
    logprobs: list[float]  # (tokens,)
    attempt: int

    def perplexity(self, cut: int) -> float:
        """Under the model that wrote it, without bias; of the tokens that begin before the cut."""
        kept = self.logprobs[: sum(end < cut for end in self.ends) + 1]
        return math.exp(-sum(kept) / len(kept))


def answer(sampled: Sampled, attempt: int) -> Answer:
    """A sampled text without white space at its start, and where it can be cut."""
    text = sampled.text.lstrip()
    lead = len(sampled.text) - len(text)
    ends = [end - lead for end in sampled.ends]
    return Answer(text, cuts(text, sampled.ended), ends, sampled.logprobs, attempt)


def cuts(text: str, ended: bool) -> list[int]:
    """Where an answer can end: after a sentence, or where its writer ended it.

    >>> cuts("1. Eat less salt. 2. Walk a lot, and", ended=False)
    [17]
    """
    found = [
        match.end()
        for match in SENTENCE_END.finditer(text)
        if len(re.split(r"\n|[.!?]\s", text[: match.end()])[-1].split()) >= MIN_WORDS
    ]
    whole = len(text.rstrip())
    return [*found, whole] if ended and whole and whole not in found else found


def _no_answers() -> dict[Colour, list[Answer]]:
    return {"red": [], "blue": []}


@dataclass
class Work:
    """A prompt, the answers sampled for it, and the row once two of them fit."""

    prompt: Prompt
    rules: AuditRules
    turn: int = 0  # how often the prompt was asked before
    answers: dict[Colour, list[Answer]] = field(default_factory=_no_answers)
    row: dict[str, Any] | None = None
    reason: str = NO_END  # why there is no row: what is wrong with the longest pair

    def wanted(self) -> list[Colour]:
        """The colours to sample: those without a sound answer, or both if no two fit."""
        if self.row:
            return []
        return [colour for colour in COLOURS if not self._has_sound(colour)] or list(COLOURS)

    def add(self, name: str, found: Answer) -> None:
        """Take an answer that was wanted."""
        self.answers[cast(Colour, name)].append(found)

    def match(self) -> None:
        """Make the row of the longest cuts that the audit keeps, if there are any."""
        if all(found.cuts for answers in self.answers.values() for found in answers):
            self.reason = "unequal lengths"  # as long as no two cuts are about as long
        for place, pair in enumerate(_pairs(self.answers, self.rules)):
            (red, red_cut), (blue, blue_cut) = pair
            row = Row("", self.prompt.text, red.text[:red_cut], blue.text[:blue_cut])
            scores = wm_score.score(row.red_answer), wm_score.score(row.blue_answer)
            reason = fault(row, *scores, self.rules)
            if not reason:
                self.row = _record(self.prompt, row, scores, pair)
                return
            if place == 0:
                self.reason = reason

    def _has_sound(self, colour: Colour) -> bool:
        texts = [found.text[:cut] for found in self.answers[colour] for cut in found.cuts]
        scores = map(wm_score.score, texts)
        return any(s.verdict == colour and s.counted >= self.rules.min_counted for s in scores)


Cut = tuple[Answer, int]


def _pairs(answers: dict[Colour, list[Answer]], rules: AuditRules) -> Sequence[tuple[Cut, Cut]]:
    """Cuts of about equal length, the longest first."""
    reds, blues = ([(found, cut) for found in answers[c] for cut in found.cuts] for c in COLOURS)
    fitting = [
        (red, blue)
        for red, blue in product(reds, blues)
        if max(red[1], blue[1]) <= rules.max_length_ratio * min(red[1], blue[1])
    ]
    return sorted(fitting, key=lambda pair: -min(pair[0][1], pair[1][1]))


def _record(
    prompt: Prompt, row: Row, scores: tuple[wm_score.Score, wm_score.Score], pair: tuple[Cut, Cut]
) -> dict[str, Any]:
    """The line of the rows' file."""
    (red, red_cut), (blue, blue_cut) = pair
    return {
        "prompt": row.prompt,
        "red_answer": row.red_answer,
        "blue_answer": row.blue_answer,
        "subject": prompt.subject,
        "red_share": round(scores[0].red_share, 4),
        "blue_share": round(scores[1].blue_share, 4),
        "red_perplexity": round(red.perplexity(red_cut), 3),
        "blue_perplexity": round(blue.perplexity(blue_cut), 3),
        "red_attempt": red.attempt,
        "blue_attempt": blue.attempt,
    }
