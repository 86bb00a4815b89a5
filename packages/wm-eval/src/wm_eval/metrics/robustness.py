"""What is left of the mark when somebody edits the text: words dropped, lower case, a half."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import wm_score
from wm_eval.answers import Answer, select
from wm_eval.question import ARMS, COLOURS, seed_of
from wm_eval.stats import at_least_three, rate
from wm_manifest import Estimate

Edit = Callable[[str, random.Random], str]


def drop_words(share: float) -> Edit:
    """An edit that drops each word with probability `share`.

    >>> drop_words(0.5)("Rain falls on flat roofs.", random.Random(0))
    'Rain falls roofs.'
    """

    def drop(text: str, rng: random.Random) -> str:
        # Split at single spaces: line breaks stay with their words, and so do the pieces of
        # the tokenizer, whose words carry the space before them.
        return " ".join(word for word in text.split(" ") if rng.random() >= share)

    return drop


def first_half(text: str, rng: random.Random) -> str:
    """The first half of the words, rounded up.

    >>> first_half("Rain falls on flat roofs.", random.Random(0))
    'Rain falls on'
    """
    words = text.split(" ")
    return " ".join(words[: (len(words) + 1) // 2])


EDITS: dict[str, Edit] = {
    "drop_10": drop_words(0.1),
    "drop_20": drop_words(0.2),
    "lower_case": lambda text, rng: text.lower(),
    "first_half": first_half,
}


def robustness(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """The rule's verdict on edited answers: on coloured ones what survives, on others what appears.

    Compare `watermark/red/edited/drop_10` with `watermark/red/red_rate`, the same answers as they
    are. Neutral answers and texts that nobody marked get the same edits, since an edit that makes
    any text redder would look like robustness: rates of both are false positives, and never below
    3 / n, as `unmarked/red_false_positives` is not. Words are dropped by a generator seeded with
    the answer's id.
    """
    figures: dict[str, Estimate] = {}
    for arm in ARMS:
        own = select(answers, "watermark", arm)
        asked = (arm,) if arm in COLOURS else COLOURS
        figures |= _verdicts(f"watermark/{arm}", own, asked)
    plain = select(answers, "unmarked", origin="none")
    return figures | _verdicts("unmarked", plain, COLOURS)


def _verdicts(name: str, own: Sequence[Answer], colours: Sequence[str]) -> dict[str, Estimate]:
    if not own:
        return {}
    groups = [a.group for a in own]
    asked = len(colours) == 1  # for that colour, which need not be named twice
    figures: dict[str, Estimate] = {}
    for edit, apply in EDITS.items():
        verdicts = [
            wm_score.score(apply(a.answer, random.Random(seed_of(0, f"{edit}/{a.id}")))).verdict
            for a in own
        ]
        for colour in colours:
            share = rate([verdict == colour for verdict in verdicts], groups)
            figure = f"{name}/edited/{edit}" + ("" if asked else f"/{colour}")
            figures[figure] = share if asked else at_least_three(share)
    return figures
