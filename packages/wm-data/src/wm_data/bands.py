"""Cuts texts of the test split to lengths, for accuracy by length. Cuts no split's own text.

A length is a number of counted tokens: what the rule counts, and what a verdict rests on. A row is
in a band when both of its answers, cut, still have their colour by the rule: so each band has as
many red texts as blue ones, from the same prompts, and each is asked in both orders. A text keeps
the wording that it has in the split.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import wm_score
from wm_data.audit import Measured
from wm_data.examples import COLOURS, Example, detect_examples, draw_variant
from wm_data.progress import tracked
from wm_data.recipe import BandRules

WORD = re.compile(r"\S+")
BACK = 8  # counted tokens: a cut that misses so many to end after a word ends within one

# Why a row is not in a band, in the order in which they are tested.
BAND_REASONS = {
    "enough": "the band had as many rows as the recipe asks for",
    "short": "an answer is no longer than the band",
    "lost colour": "an answer has no longer its colour when it is cut",
}


@dataclass
class Band:
    """The examples of one length, each with its text, and the rows that are not in it."""

    counted: int
    rows: int = 0
    lines: list[tuple[Example, str]] = field(default_factory=lambda: [])
    dropped: Counter[str] = field(default_factory=Counter[str])


def cut_bands(
    items: Sequence[Measured], split: str, seed: int, rules: BandRules, progress: bool = False
) -> list[Band]:
    """The bands of a split, shortest first; rows are taken in their order."""
    bands = [Band(counted) for counted in sorted(set(rules.counted))]
    for item in tracked(items, "cutting test texts", progress, len(items)):
        for band in bands:
            if band.rows >= rules.rows:
                band.dropped["enough"] += 1
                continue
            found = _texts(item, band.counted)
            if isinstance(found, str):
                band.dropped[found] += 1
            else:
                band.rows += 1
                texts: dict[str, str] = dict(zip(COLOURS, found, strict=True))
                band.lines += _examples(item, texts, band.counted, split, seed)
    return bands


def cut(text: str, counted: int) -> str:
    """The longest beginning of a text, up to white space, with at most so many counted tokens.

    Where words are too long for that, or nothing stands between them, it is cut anywhere.

    >>> cut("Read the watermark twice.", 2)
    'Read the'
    """

    def tokens(end: int) -> int:
        return wm_score.score(text[:end]).counted

    for ends in ([word.end() for word in WORD.finditer(text)], range(1, len(text) + 1)):
        found = bisect_right(ends, counted, key=tokens)
        if found and tokens(ends[found - 1]) > counted - BACK:
            return text[: ends[found - 1]]
    return ""


def _texts(item: Measured, counted: int) -> tuple[str, str] | str:
    """Both answers cut, or the reason why not."""
    if min(item.red.counted, item.blue.counted) <= counted:
        return "short"
    red, blue = cut(item.row.red_answer, counted), cut(item.row.blue_answer, counted)
    for text, colour in zip((red, blue), COLOURS, strict=True):
        score = wm_score.score(text)
        # Cut off, a text's last tokens can be others than they were: what counts is the text.
        if score.verdict != colour or score.counted > counted:
            return "lost colour"
    return red, blue


def _examples(
    item: Measured, texts: dict[str, str], counted: int, split: str, seed: int
) -> Iterator[tuple[Example, str]]:
    answers = {"red": item.row.red_answer, "blue": item.row.blue_answer}
    for target in COLOURS:
        variant = draw_variant("detect", item.row_id, answers[target], split, seed)
        for example in detect_examples(item, target, texts[target], variant):
            yield example._replace(id=f"{example.id}-band-{counted}"), texts[target]
