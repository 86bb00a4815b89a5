"""Power: the share of marked values above a threshold that 1 % of plain ones exceed.

Never one threshold for fitting and judging: it is fitted on plain values of other prompt groups. It
is an order statistic of them and as uncertain as the few that exceed it, which is most of the
interval: with 300 plain values it is the third largest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from wm_eval.stats import LEVEL, rate
from wm_manifest import Estimate

FALSE_POSITIVES = 0.01
NONE = Estimate(value=None, n=0, n_groups=0)


@dataclass(frozen=True)
class Threshold:
    """A fitted threshold, and the ends of its 95 % interval: the lower one lets more pass."""

    value: float
    low: float
    high: float


def threshold(plain: Sequence[float], groups: int) -> Threshold | None:
    """What 1 % of the plain values exceed; None below 300 of them, which could not show 1 %.

    How many of G groups exceed the true threshold is binomial: the order statistics at the ends of
    that count are the ends of the threshold's interval, without a word on the values' distribution.
    """
    n = len(plain)
    if n < 3 / FALSE_POSITIVES:
        return None
    ordered = np.sort(plain)
    # + 1: the value to be judged is itself one of the exchangeable ones.
    place = math.ceil((1 - FALSE_POSITIVES) * (n + 1)) - 1
    ends = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    few, many = (_binomial(groups, end) * n / groups for end in ends)
    return Threshold(
        value=float(ordered[place]),
        low=float(ordered[max(0, n - 1 - math.ceil(many))]),
        high=float(ordered[max(place, n - 1 - math.floor(few))]),
    )


def power(marked: Sequence[float], plain: Sequence[float], groups: Sequence[str]) -> Estimate:
    """Power of marked answers against plain ones to the same prompts.

    The threshold of one half of the groups is the other half's.
    """
    halves = {group: at % 2 for at, group in enumerate(sorted(set(groups)))}
    fold = [halves[group] for group in groups]
    limits: list[Threshold] = []
    for half in (0, 1):
        others = [p for p, f in zip(plain, fold, strict=True) if f != half]
        there = sum(f != half for f in halves.values())
        if (limit := threshold(others, there)) is None:
            return NONE
        limits.append(limit)
    own = [limits[f] for f in fold]
    parts = [[f == half for f in fold] for half in (0, 1)]
    return _estimate(marked, own, groups, parts)


def power_apart(
    marked: Sequence[float],
    marked_groups: Sequence[str],
    plain: Sequence[float],
    plain_groups: Sequence[str],
) -> Estimate:
    """Power of marked values against plain ones that are not theirs, such as unmarked texts.

    A value's own group does not help to fit the threshold that it is judged by.
    """
    limits: dict[str, Threshold] = {}
    shared = set(plain_groups)
    for group in set(marked_groups):
        key = group if group in shared else ""
        if key not in limits:
            others = [p for p, g in zip(plain, plain_groups, strict=True) if g != key]
            limit = threshold(others, len(shared - {key}))
            if limit is None:
                return NONE
            limits[key] = limit
    own = [limits[group if group in shared else ""] for group in marked_groups]
    # All but the same threshold: what it is off by is so for all of them.
    return _estimate(marked, own, marked_groups, [[True] * len(own)])


def _estimate(
    marked: Sequence[float],
    limits: Sequence[Threshold],
    groups: Sequence[str],
    parts: Sequence[Sequence[bool]],
) -> Estimate:
    """The rate above the thresholds, with their uncertainty beside that of the marked values.

    Each is an interval of its own, and their arms are added in squares (MOVER: Zou and Donner,
    Statistics in Medicine 2008). The values of a part share a threshold.
    """
    found = rate([m > t.value for m, t in zip(marked, limits, strict=True)], groups)
    if found.value is None or found.low is None or found.high is None:
        return found
    below, above = (found.value - found.low) ** 2, (found.high - found.value) ** 2
    for part in parts:
        own = [(m, t) for m, t, of in zip(marked, limits, part, strict=True) if of]
        fewer = sum(t.value < m <= t.high for m, t in own)
        more = sum(t.low < m <= t.value for m, t in own)
        below += (fewer / found.n) ** 2
        above += (more / found.n) ** 2
    return found.model_copy(
        update={
            "low": max(0.0, found.value - math.sqrt(below)),
            "high": min(1.0, found.value + math.sqrt(above)),
        }
    )


def _binomial(n: int, share: float) -> int:
    """The smallest count that a binomial of n at 1 % does not exceed with probability `share`."""
    count = 0
    while special.bdtr(count, n, FALSE_POSITIVES) < share:
        count += 1
    return count
