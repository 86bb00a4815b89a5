"""Means with 95 % intervals, clustered by prompt group. Knows no task.

The two colours and the two orders of one text are not independent observations: a figure rests on
as many observations as there are prompt groups, more or less. Two kinds of mean:

- of a bounded quantity (a rate, a share, a difference of rates): Wilson's interval with an
  *effective* number of observations, taken from the clustered variance. With one observation a
  group it is Wilson's interval exactly. At 100 % it is not [1, 1], as it would be for a bootstrap
  or a Wald interval: with no spread to estimate a design effect from, each group counts once, and
  what groups that were not seen may change is bounded.
- of an unbounded one (perplexity, length): the clustered t interval.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from scipy import special

from wm_manifest import Estimate

LEVEL = 0.95

# Groups of pseudo-observations, half of them all-low and half all-high, that the design effect is
# estimated with: without them it is 0/0 at 0 % and 100 %. A larger number widens intervals near
# the ends (1 covers 97 to 99 % there, 0.5 covers 94 to 97 %); see test_intervals_cover.
PSEUDO_GROUPS = 0.5
# Groups that differ say themselves how much, and the pseudo-groups fade: beside groups that are
# nearly alike (a bias, a mean share, a difference of two models that read a dozen texts of each
# prompt) a quarter of a group at each end was most of the variance, and covered 99 %.
FADE = 1.0  # pseudo-groups, over the number of groups that differ (2 covers 97 to 99 % there)

ROUNDING = 1e-9  # means of groups that differ by less are the same
FEW = 5  # groups that differ from all others; of more their spread is an estimate (10 covers 99 %)


def rate(passed: Sequence[bool], groups: Sequence[Hashable]) -> Estimate:
    """Share of True with its interval.

    >>> rate([True] * 50, range(50)).low > 0.9
    True
    >>> rate([], []).value is None
    True
    """
    return bounded([float(value) for value in passed], groups)


def at_least_three(found: Estimate) -> Estimate:
    """The rate, or 3 / n where it is smaller: no fewer false positives than three are ever claimed.

    >>> at_least_three(rate([False] * 300, range(300))).value
    0.01
    """
    least = min(1.0, 3 / found.n)
    value = max(found.value or 0.0, least)
    return found.model_copy(update={"value": value, "high": max(found.high or 0.0, value)})


def bounded(
    values: Sequence[float], groups: Sequence[Hashable], low: float = 0.0, high: float = 1.0
) -> Estimate:
    """Mean of values within [low, high], clustered Wilson interval."""
    if not values:
        return Estimate(value=None, n=0, n_groups=0)
    span = high - low
    sums, sizes = _totals([(value - low) / span for value in values], groups)
    centre = float(sums.sum() / sizes.sum())
    bottom, top = unvaried(centre, len(sizes))
    apart = deviating(sums / sizes)
    if apart:
        own = wilson(centre, effective_n(sums, sizes), len(sizes))
        # A handful of groups that differ tell next to nothing of how many would: their interval
        # may not be narrower than the one of groups that all agree.
        bottom, top = (min(bottom, own[0]), max(top, own[1])) if apart <= FEW else own
    return Estimate(
        value=low + span * centre,
        low=low + span * bottom,
        high=low + span * top,
        n=len(values),
        n_groups=len(sizes),
    )


def deviating(means: np.ndarray) -> int:
    """How many of the groups' means, (groups,), differ from the middle one.

    >>> deviating(np.array([1.0, 1.0, 1.0, 0.5]))
    1
    """
    return int((np.abs(means - np.median(means)) > ROUNDING).sum())


def from_variance(value: float, variance: float, n: int, n_groups: int) -> Estimate:
    """Interval of a figure in [0, 1] that is no mean, such as an area under a curve.

    `variance` is the figure's own and rests on `n_groups` groups; of two sides, on those of the
    smaller. They are taken for as many observations of [0, 1], with pseudo-groups at both ends as
    for a rate: near 0 and 1 the variance that was seen is too small, at the ends there is none.
    """
    if n_groups < 2:
        return Estimate(value=value, low=0.0, high=1.0, n=n, n_groups=n_groups)
    total = n_groups + PSEUDO_GROUPS
    p = (value * n_groups + PSEUDO_GROUPS / 2) / total
    spread = n_groups**2 * variance + n_groups * (p - value) ** 2
    spread += PSEUDO_GROUPS / 2 * (p**2 + (1 - p) ** 2)
    effective = p * (1 - p) / (spread / total**2) - PSEUDO_GROUPS
    low, high = wilson(value, effective, n_groups)
    return Estimate(value=value, low=low, high=high, n=n, n_groups=n_groups)


def variance_of(influence: Sequence[float], groups: Sequence[Hashable]) -> tuple[float, int]:
    """Clustered variance of a figure and its groups, from what each observation adds to it.

    `influence` (observations,) sums to 0, and the figure is its mean but for a constant. The
    factor G / (G - 1) is that of `mean`.
    """
    sums, sizes = _totals(influence, groups)
    n_groups = len(sizes)
    small = n_groups / (n_groups - 1) if n_groups > 1 else 1.0
    return float((sums**2).sum() / sizes.sum() ** 2) * small, n_groups


def student(freedom: int) -> float:
    """The quantile of Student's t that ends a two-sided interval of `LEVEL`.

    Asked of `scipy.special`: `scipy.stats` gives the same number and takes half a second to import.

    >>> round(student(10), 3)
    2.228
    """
    return float(special.stdtrit(freedom, (1 + LEVEL) / 2))


def wilson(share: float, effective: float, n_groups: int) -> tuple[float, float]:
    """Wilson's interval for a share of `effective` observations, Student's quantile for groups."""
    if n_groups < 2:  # nothing to estimate a spread between groups from
        return 0.0, 1.0
    z = student(n_groups - 1)
    shrink = 1 + z * z / effective
    middle = (share + z * z / (2 * effective)) / shrink
    half = z * math.sqrt(share * (1 - share) / effective + (z / (2 * effective)) ** 2) / shrink
    # At 0 and 1 the end is exact; rounding must not make it 1.0000000000000002.
    low = 0.0 if share <= 0 else max(0.0, middle - half)
    return low, 1.0 if share >= 1 else min(1.0, middle + half)


def unvaried(share: float, n_groups: int) -> tuple[float, float]:
    """Interval of a share that is the same in every group: what unseen groups may still change.

    That no group of G differs bounds how many would, by Wilson's interval at 0 of G (the rule of
    three, about); those may lie at either end. At 0 and 1 it is Wilson's interval exactly.

    >>> [round(end, 3) for end in unvaried(0.5, 100)]
    [0.481, 0.519]
    """
    _, other = wilson(0.0, float(n_groups), n_groups)
    return share * (1 - other), share + (1 - share) * other


def mean(values: Sequence[float], groups: Sequence[Hashable]) -> Estimate:
    """Mean of unbounded values, clustered t interval.

    The clustered variance of a ratio of sums, with the small-sample factor G / (G - 1): Cameron
    and Miller, A Practitioner's Guide to Cluster-Robust Inference, 2015.
    """
    if not values:
        return Estimate(value=None, n=0, n_groups=0)
    sums, sizes = _totals(values, groups)
    n_groups = len(sizes)
    centre = float(sums.sum() / sizes.sum())
    if n_groups < 2:
        return Estimate(value=centre, n=len(values), n_groups=n_groups)
    residual = sums - centre * sizes
    variance = (residual**2).sum() / sizes.sum() ** 2 * n_groups / (n_groups - 1)
    half = student(n_groups - 1) * math.sqrt(variance)
    return Estimate(
        value=centre, low=centre - half, high=centre + half, n=len(values), n_groups=n_groups
    )


def ratio(above: Sequence[float], below: Sequence[float], groups: Sequence[Hashable]) -> Estimate:
    """Sum of one over the sum of the other of pairs (no negative ones), clustered t interval.

    Not the mean of the pairs' ratios: one short answer below makes a ratio of ten, so that this
    mean is above 1 for two sides of the same lengths, and its interval covers 82 to 93 %. The
    variance is linearised (Cochran, Sampling Techniques 1977, 6.3), clustered as that of `mean`.

    >>> ratio([30, 10], [20, 20], ["a", "b"]).value
    1.0
    """
    whole = sum(below)
    if not whole:
        return Estimate(value=None, n=0, n_groups=0)
    value = sum(above) / whole
    sums, sizes = _totals([a - value * b for a, b in zip(above, below, strict=True)], groups)
    n_groups = len(sizes)
    if n_groups < 2:
        return Estimate(value=value, n=len(above), n_groups=n_groups)
    half = student(n_groups - 1) * math.sqrt((sums**2).sum() * n_groups / (n_groups - 1)) / whole
    return Estimate(
        value=value, low=value - half, high=value + half, n=len(above), n_groups=n_groups
    )


def effective_n(sums: np.ndarray, sizes: np.ndarray) -> float:
    """Independent observations that would leave a share as uncertain as the clustered ones do.

    `sums` and `sizes` (groups,): successes and observations of each group. Equal to the number of
    observations when each group has one, and to the number of groups when a group's observations
    always agree, whatever their number.
    """
    size = float(sizes.mean())
    pseudo = min(PSEUDO_GROUPS, FADE / max(1, deviating(sums / sizes))) / 2
    total = float(sizes.sum()) + 2 * pseudo * size
    p = (float(sums.sum()) + pseudo * size) / total
    spread = float(((sums - p * sizes) ** 2).sum())
    spread += pseudo * size**2 * (p**2 + (1 - p) ** 2)
    return p * (1 - p) / (spread / total**2) - 2 * pseudo


def _totals(values: Sequence[float], groups: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """Sum of values and number of values of each group, both (groups,)."""
    assert len(values) == len(groups), "each value has a group"
    place: dict[Hashable, int] = {}
    index = [place.setdefault(group, len(place)) for group in groups]
    sums = np.bincount(index, weights=np.asarray(values, dtype=float), minlength=len(place))
    return sums, np.bincount(index, minlength=len(place)).astype(float)
