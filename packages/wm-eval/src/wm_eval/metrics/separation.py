"""How well the shares alone tell a coloured arm from the neutral one: AUROC, and `power`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wm_eval.answers import Answer, select
from wm_eval.metrics.power import power
from wm_eval.question import COLOURS
from wm_eval.stats import from_variance, variance_of
from wm_manifest import Estimate


def separation(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """Per colour, against the neutral answers to the same prompts.

    `auroc`: chance that a coloured answer has the larger share, ties half. `tpr_at_1pct_fpr` is
    None below 300 negatives a fold: no false-positive rate below 3 / negatives is ever claimed.
    """
    neutral = {a.group: a for a in select(answers, "watermark", "neutral")}
    figures: dict[str, Estimate] = {}
    for colour in COLOURS:
        own = [a for a in select(answers, "watermark", colour) if a.group in neutral]
        if not own:
            continue
        groups = [a.group for a in own]
        marked = [a.share(colour) for a in own]
        plain = [neutral[a.group].share(colour) for a in own]
        figures[f"watermark/{colour}/auroc"] = auroc(marked, plain, groups)
        figures[f"watermark/{colour}/tpr_at_1pct_fpr"] = power(marked, plain, groups)
    return figures


def auroc(marked: Sequence[float], plain: Sequence[float], groups: Sequence[str]) -> Estimate:
    """Chance that a marked value exceeds a plain one, its interval clustered by group.

    The variance is DeLong's, from placements of each value among those of the other side, added up
    by group (Obuchowski, Biometrics 1997): the two answers to one prompt are not independent.
    """
    if len(plain) < 2:
        return Estimate(value=None, n=0, n_groups=0)
    above = placements(marked, plain)
    below = [1 - value for value in placements(plain, marked)]
    value = sum(above) / len(above)
    influence = [up + down - 2 * value for up, down in zip(above, below, strict=True)]
    variance, n_groups = variance_of(influence, groups)
    return from_variance(value, variance, len(influence), n_groups)


def placements(values: Sequence[float], among: Sequence[float]) -> list[float]:
    """Share of `among` that each value exceeds, ties half.

    >>> placements([0.5, 0.9], [0.1, 0.5])
    [0.75, 1.0]
    """
    ordered = np.sort(among)
    below, at_most = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return ((below + at_most) / 2 / len(among)).tolist()


def auroc_apart(
    marked: Sequence[float],
    marked_groups: Sequence[str],
    plain: Sequence[float],
    plain_groups: Sequence[str],
) -> Estimate:
    """`auroc` of two sides that are not paired: each with its own number and its own groups.

    It is as certain as the side with fewer groups lets it be: `n_groups` is theirs.
    """
    if min(len(plain), len(marked)) < 2:
        return Estimate(value=None, n=0, n_groups=0)
    above = placements(marked, plain)
    below = [1 - value for value in placements(plain, marked)]
    value = sum(above) / len(above)
    sides = [
        variance_of([placed - value for placed in side], groups)
        for side, groups in ((above, marked_groups), (below, plain_groups))
    ]
    variance, n_groups = sum(v for v, _ in sides), min(g for _, g in sides)
    return from_variance(value, variance, len(above) + len(below), n_groups)
