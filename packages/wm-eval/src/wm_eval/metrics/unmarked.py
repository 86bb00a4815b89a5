"""The rule on texts that nobody marked: its false positives, and the arms set against them."""

from __future__ import annotations

from collections.abc import Sequence

import wm_score
from wm_eval.answers import Answer, select
from wm_eval.metrics.evidence import SIGNIFICANT
from wm_eval.metrics.power import power_apart
from wm_eval.metrics.separation import auroc_apart
from wm_eval.question import COLOURS
from wm_eval.stats import at_least_three, rate
from wm_manifest import Estimate


def unmarked(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """False-positive rates of the rule and of the calibrated p; AUROC and power of the shares.

    No rate below 3 / n is ever reported: with fewer false positives than three, 3 / n stands there
    (the 95 % bound at none of n), and the interval says what is compatible. A coloured answer is
    judged by a threshold from unmarked texts of other prompt groups alone.
    """
    plain = select(answers, "unmarked", origin="none")
    if not plain:
        return {}
    groups = [a.group for a in plain]
    found = [wm_score.evidence(a.answer) for a in plain]
    figures: dict[str, Estimate] = {}
    for colour in COLOURS:
        p = [e.red_p if colour == "red" else e.blue_p for e in found]
        figures[f"unmarked/{colour}_false_positives"] = at_least_three(
            rate([a.verdict == colour for a in plain], groups)
        )
        figures[f"unmarked/{colour}_significant"] = at_least_three(
            rate([value <= SIGNIFICANT for value in p], groups)
        )
        marked = select(answers, "watermark", colour)
        if marked:
            sides = (
                [a.share(colour) for a in marked],
                [a.group for a in marked],
                [a.share(colour) for a in plain],
                groups,
            )
            name = f"watermark/{colour}"
            figures[f"{name}/auroc_unmarked"] = auroc_apart(*sides)
            figures[f"{name}/tpr_at_1pct_fpr_unmarked"] = power_apart(*sides)
    return figures
