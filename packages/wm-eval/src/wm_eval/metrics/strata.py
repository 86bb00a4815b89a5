"""The detect task by what the text is like: its length, its share of the colour, its origin."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import wm_score
from wm_eval.answers import Answer, pairs, select
from wm_eval.metrics.likelihood import likelier
from wm_eval.question import COLOURS
from wm_eval.stats import rate
from wm_manifest import Estimate

# Name of a band and its upper end: in counted tokens (inclusive), in the colour's share (not).
LENGTHS = {"1-25": 25, "26-50": 50, "51-100": 100, "101-200": 200, "201-up": 1 << 62}
SHARES = {"0-0.6": 0.6, "0.6-0.65": 0.65, "0.65-0.7": 0.7, "0.7-0.8": 0.8, "0.8-1": 2.0}


def strata(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """Accuracy by length and by share of the split's texts, by source, by band, on own texts.

    Lengths and shares are those of texts as they are; bands are texts cut to at most so many
    counted tokens, where the dataset has them. A longer band has fewer rows, since a text must be
    longer than its band and keep its colour in it: between two bands the rows differ too.
    """
    own = select(answers, "detect")
    if not own:
        return {}
    figures: dict[str, Estimate] = {}
    scores = {text: wm_score.score(text) for text in {a.text for a in own}}
    lengths = _split(own, lambda a: length_band(scores[a.text].counted))
    for name in LENGTHS:
        figures[f"detect/length/{name}/accuracy"] = _accuracy(lengths.get(name, []))
    by_share = _split(own, lambda a: share_band(_share(scores[a.text], a)))
    for name in SHARES:
        figures[f"detect/share/{name}/accuracy"] = _accuracy(by_share.get(name, []))
    sources = _split(own, lambda a: a.source)
    for name, part in sources.items() if len(sources) > 1 else ():
        figures[f"detect/source/{name}/accuracy"] = _accuracy(part)
    cut = _split(select(answers, "detect", origin="band"), lambda a: f"{a.band:04d}")
    for part in cut.values():
        figures |= _readings(f"detect/band/{part[0].band}", part, "band")
    return figures | _own(select(answers, "detect", origin="own"))


def _own(part: Sequence[Answer]) -> dict[str, Estimate]:
    """Of the texts that the model wrote, by colour as well: how many there are of each is its own
    doing, and where it writes one colour alone, whoever always names that one is right."""
    figures = _readings("detect/own", part, "own")
    for colour in COLOURS if part else ():
        figures |= _readings(
            f"detect/own/{colour}", [a for a in part if a.expected == colour], "own"
        )
    return figures


def _readings(name: str, part: Sequence[Answer], origin: str) -> dict[str, Estimate]:
    """What was written and what was likelier, in each order and in both."""
    if not part:
        return {}
    both = pairs(part, origin)
    stated = [a for a in part if a.options]
    return {
        f"{name}/accuracy": _accuracy(part),
        f"{name}/both_orders": rate(
            [one.passed and other.passed for one, other in both], [one.group for one, _ in both]
        ),
        f"{name}/likelihood/accuracy": rate(
            [likelier(a) == a.expected for a in stated], [a.group for a in stated]
        ),
    }


def length_band(counted: int) -> str:
    """Name of the band that so many counted tokens are in.

    >>> length_band(25), length_band(26), length_band(900)
    ('1-25', '26-50', '201-up')
    """
    return next(name for name, end in LENGTHS.items() if counted <= end)


def share_band(share: float) -> str:
    """Name of the band of the colour's share; a text's label needs more than .55.

    >>> share_band(0.56), share_band(0.6), share_band(1.0)
    ('0-0.6', '0.6-0.65', '0.8-1')
    """
    return next(name for name, end in SHARES.items() if share < end)


def _share(score: wm_score.Score, answer: Answer) -> float:
    return score.red_share if answer.expected == "red" else score.blue_share


def _accuracy(part: Sequence[Answer]) -> Estimate:
    return rate([a.passed for a in part], [a.group for a in part])


def _split(answers: Sequence[Answer], key: Callable[[Answer], str]) -> dict[str, list[Answer]]:
    """Answers by key, keys in order."""
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        found.setdefault(key(answer), []).append(answer)
    return dict(sorted(found.items()))
