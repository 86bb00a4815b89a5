"""Judges seed rows by the parity rule and says why a row is dropped. Splits and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import wm_score
from wm_data.recipe import AuditRules
from wm_data.rows import Row
from wm_data.values import FAULTS
from wm_data.workers import in_order

# What each reason means, in the order in which they are tested: a row has the first that fits.
REASONS = {
    **FAULTS,
    "equal answers": "both answers are the same text",
    "special token": "the prompt or an answer holds a token such as <|im_end|>",
    "few tokens": "an answer has fewer counted tokens than the recipe asks for",
    "many tokens": "an answer has more counted tokens than the recipe allows",
    "unequal lengths": "one answer is so much longer that its length tells the colour",
    "red answer is not red": "at most 55 % of its counted tokens are even",
    "blue answer is not blue": "at most 55 % of its counted tokens are odd",
    "duplicate": "the same row stands earlier in the sources",
    "held-out prompt": "its prompt is in a held-out split by way of another row",
    "held-out subject": "its subject is in a held-out split by way of another row",
    "near duplicate": "its prompt or an answer is nearly one of a split held out from its own",
    "repeats itself": "an answer's runs of three tokens are too often ones that it had before",
    "over its share": "the weights or a cap ask for fewer training rows of its source",
    "over the limit": "--limit asks for fewer rows",
}

PART_ROWS = 256
PARTS_ALONE = 32  # 8,192 rows, some seconds: a process takes two to start
Texts = tuple[str, str, str]  # prompt, red answer, blue answer
Counts = tuple[int, int, int]  # even, odd, ignored
Judged = tuple[str, str, Counts, Counts, str]  # row id, group, red, blue, reason

SPECIAL_TOKENS = tuple(
    wm_score.decode([token]) for token in range(wm_score.BASE_TOKENS, wm_score.VOCABULARY_SIZE)
)


@dataclass(frozen=True, slots=True)
class Measured:
    """A row with what wm-score reads in it. `reason` is empty for a row that is kept."""

    row: Row
    row_id: str
    group: str
    red: wm_score.Score
    blue: wm_score.Score
    reason: str = ""

    @property
    def kept(self) -> bool:
        return not self.reason


def audit(rows: Iterable[Row], rules: AuditRules, workers: int = 1) -> Iterator[Measured]:
    """Measure every row and name the first rule it breaks. Order is kept, nothing is left out.

    More than one of `workers` measures long inputs in as many processes, with the same outcome.
    """
    seen: set[str] = set()
    parts = ((part, list(map(_texts, part))) for part in _parts(iter(rows)))
    for part, found in in_order(partial(_judge, rules=rules), parts, workers, PARTS_ALONE):
        for row, (row_id, group, red, blue, reason) in zip(part, found, strict=True):
            reason = row.fault or reason or ("duplicate" if row_id in seen else "")
            if not reason:
                seen.add(row_id)
            yield Measured(row, row_id, group, wm_score.Score(*red), wm_score.Score(*blue), reason)


def _parts(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while part := list(islice(rows, PART_ROWS)):
        yield part


def _texts(row: Row) -> Texts:
    return row.prompt, row.red_answer, row.blue_answer


def _judge(part: Sequence[Texts], rules: AuditRules) -> list[Judged]:
    """What is told of each row by its texts alone; of builtin types, which travel fast."""
    found: list[Judged] = []
    for row in (Row("", *texts) for texts in part):
        red, blue = wm_score.score(row.red_answer), wm_score.score(row.blue_answer)
        counts = ((red.even, red.odd, red.ignored), (blue.even, blue.odd, blue.ignored))
        found.append((row.row_id, row.group, *counts, fault(row, red, blue, rules)))
    return found


def fault(row: Row, red: wm_score.Score, blue: wm_score.Score, rules: AuditRules) -> str:
    """The first rule that a row breaks, given its answers' scores; empty for a sound row."""
    texts = (row.prompt, row.red_answer, row.blue_answer)
    counted = (red.counted, blue.counted)
    lengths = sorted((len(row.red_answer), len(row.blue_answer)))
    if not all(text.strip() for text in texts):
        return "empty"
    if row.red_answer == row.blue_answer:
        return "equal answers"
    if any(map(has_special_token, texts)):
        return "special token"
    if min(counted) < rules.min_counted:
        return "few tokens"
    if rules.max_counted is not None and max(counted) > rules.max_counted:
        return "many tokens"
    if lengths[1] > rules.max_length_ratio * lengths[0]:
        return "unequal lengths"
    if red.verdict != "red":
        return "red answer is not red"
    if blue.verdict != "blue":
        return "blue answer is not blue"
    return ""


def text_fault(text: str, score: wm_score.Score, rules: AuditRules) -> str:
    """The first rule that a lone text breaks, whatever its colour; empty for a sound one."""
    if not text.strip():
        return "empty"
    if has_special_token(text):
        return "special token"
    if score.counted < rules.min_counted:
        return "few tokens"
    if rules.max_counted is not None and score.counted > rules.max_counted:
        return "many tokens"
    return ""


def has_special_token(text: str) -> bool:
    """Whether a text holds one of Qwen3's added tokens, such as <|im_end|>."""
    return "<" in text and any(token in text for token in SPECIAL_TOKENS)
