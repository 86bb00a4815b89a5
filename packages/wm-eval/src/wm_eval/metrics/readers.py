"""Trivial readers of the same texts: what the detect task gives away without reading tokens.

A model that is no better than these has learnt a habit of English or of the dataset.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from statistics import median

import wm_score
from wm_eval.answers import Answer, select
from wm_eval.stats import rate
from wm_manifest import Estimate

# Frequent words whose Qwen3 ids (with the space before) are odd: they make English lean blue.
ODD_WORDS = frozenset(("the", "to", "of", "and"))

_WORD = re.compile(r"[a-z']+")


def readers(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """Accuracy of each reader on the texts asked about, once a text.

    Length and function words are given the texts' own median to cut at, and the better direction,
    which they could not honestly know. Another cut may do better still.
    """
    texts = {a.text: a for a in select(answers, "detect")}
    own = list(texts.values())
    if not own:
        return {}
    groups = [a.group for a in own]
    figures = {
        "detect/reader/always_blue": rate([a.expected == "blue" for a in own], groups),
        "detect/reader/wm_score": rate(
            [wm_score.score(a.text).verdict == a.expected for a in own], groups
        ),
    }
    features: dict[str, Callable[[str], float]] = {"length": len, "odd_words": odd_words}
    for name, feature in features.items():
        values = [feature(a.text) for a in own]
        middle = median(values)
        blue_above = [
            ("blue" if value > middle else "red") == a.expected
            for value, a in zip(values, own, strict=True)
        ]
        if sum(blue_above) * 2 < len(blue_above):
            blue_above = [not hit for hit in blue_above]
        figures[f"detect/reader/{name}"] = rate(blue_above, groups)
    return figures


def odd_words(text: str) -> float:
    """Share of the words that are the commonest odd ones.

    >>> odd_words("The end of the road")
    0.6
    """
    words = _WORD.findall(text.casefold())
    return sum(word in ODD_WORDS for word in words) / len(words) if words else 0.0
