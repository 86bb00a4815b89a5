"""Calibrated evidence: how surprising the answers would be if nobody had marked them."""

from __future__ import annotations

from collections.abc import Sequence

import wm_score
from wm_eval.answers import Answer, select
from wm_eval.question import ARMS, COLOURS
from wm_eval.stats import at_least_three, bounded, rate
from wm_manifest import Estimate

SIGNIFICANT = 0.01


def evidence(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """Per arm and colour: mean calibrated p, and the share of answers with p at most 1 %.

    p is wm-score's default: for each genre it ships an upper bound of the rate at which unmarked
    text of that length is as extreme, on distinct tokens, and the largest of these. The neutral
    arm's share is the false-positive rate here, and never below 3 / n.
    """
    figures: dict[str, Estimate] = {}
    for arm in ARMS:
        own = select(answers, "watermark", arm)
        found = [wm_score.evidence(a.answer) for a in own]
        groups = [a.group for a in own]
        for colour in COLOURS if own else ():
            if arm in COLOURS and arm != colour:
                continue
            p = [e.red_p if colour == "red" else e.blue_p for e in found]
            figures[f"watermark/{arm}/{colour}_p"] = bounded(p, groups)
            share = rate([value <= SIGNIFICANT for value in p], groups)
            name = f"watermark/{arm}/{colour}_significant"
            figures[name] = share if arm in COLOURS else at_least_three(share)
    return figures
