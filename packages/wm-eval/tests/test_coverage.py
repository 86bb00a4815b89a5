"""95 % intervals hold the truth in about 95 % of simulated data sets, for each kind of figure.

One kind each: a rate (success, accuracy, both orders), a share in [0, 1] (mean share, seq-rep-3), a
difference of rates (lift, lift over base), a mean without bounds (length), a ratio of two, exp of one
(perplexity and its ratio), an area under the curve with paired and with unpaired sides, power at a
threshold that has to be fitted. The
expected calibration error is none of them: it is above 0 by chance alone, and its interval says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from wm_eval.compare import difference
from wm_eval.metrics.base import exponential
from wm_eval.metrics.power import power, power_apart
from wm_eval.metrics.separation import auroc, auroc_apart
from wm_eval.stats import bounded, mean, rate, ratio
from wm_manifest import Estimate

Rng = np.random.Generator
Draw = Callable[[Rng], tuple[Estimate, float]]  # one data set's figure, and the truth


def clustered(rng: Rng, groups: int) -> tuple[np.ndarray, list[int]]:
    """Sizes of the groups, 1 to 7 rows, and the group of each row."""
    sizes = rng.integers(1, 8, groups)
    return sizes, np.repeat(np.arange(groups), sizes).tolist()


def chances(rng: Rng, groups: int, p: float, correlation: float) -> np.ndarray:
    """Each group's own rate, with mean p; `correlation` is that of two rows of a group."""
    if not correlation:
        return np.full(groups, p)
    k = (1 - correlation) / correlation
    return rng.beta(p * k, (1 - p) * k, groups)


def a_rate(groups: int, p: float, correlation: float) -> Draw:
    def draw(rng: Rng) -> tuple[Estimate, float]:
        sizes, owner = clustered(rng, groups)
        own = np.repeat(chances(rng, groups, p, correlation), sizes)
        return rate(list(rng.random(len(own)) < own), owner), p

    return draw


def a_bias(groups: int, right: float) -> Draw:
    """Share naming red, of a dozen questions a prompt, half of them about red texts."""

    def draw(rng: Rng) -> tuple[Estimate, float]:
        labels = np.tile([True, False], 6 * groups)
        named = labels ^ (rng.random(len(labels)) >= right)
        return rate(list(named), [i // 12 for i in range(len(labels))]), 0.5

    return draw


def a_share_of_one_answer(groups: int, centre: float, spread: float) -> Draw:
    """Of one answer a prompt, all much alike."""

    def draw(rng: Rng) -> tuple[Estimate, float]:
        return bounded(list(rng.normal(centre, spread, groups)), range(groups)), centre

    return draw


def a_close_comparison(groups: int, worse: float) -> Draw:
    """Of two models that read a dozen texts of a prompt, the first of them without a mistake."""

    def draw(rng: Rng) -> tuple[Estimate, float]:
        b = list(rng.random(12 * groups) >= worse)
        owner = [str(i // 12) for i in range(len(b))]
        return difference("x", [True] * len(b), b, owner).difference, -worse

    return draw


def a_share(groups: int, centre: float, correlation: float) -> Draw:
    """Shares of colour: of an answer of 40 tokens, whose prompt has a leaning of its own."""

    def draw(rng: Rng) -> tuple[Estimate, float]:
        sizes, owner = clustered(rng, groups)
        own = np.repeat(chances(rng, groups, centre, correlation), sizes)
        return bounded(list(rng.binomial(40, own) / 40), owner), centre

    return draw


def a_lift(groups: int, asked: float, not_asked: float) -> Draw:
    """Paired by prompt: an easy prompt is easy on both sides."""

    def draw(rng: Rng) -> tuple[Estimate, float]:
        ease = math.sqrt(0.5) * (rng.normal(size=groups) + rng.normal(size=(2, groups)))
        passed = ease < norm.ppf([[asked], [not_asked]])
        gained = passed[0].astype(float) - passed[1]
        return bounded(list(gained), range(groups), -1, 1), asked - not_asked

    return draw


def a_mean(groups: int) -> Draw:
    """Skewed, as lengths are."""

    def draw(rng: Rng) -> tuple[Estimate, float]:
        sizes, owner = clustered(rng, groups)
        level = np.repeat(rng.gamma(8, 1 / 8, groups), sizes)
        return mean(list(level * rng.gamma(8, 1 / 8, len(level))), owner), 1.0

    return draw


def a_ratio_of_lengths(groups: int) -> Draw:
    """Of answers as long as each other, of which some are short: one in eight has a word or two."""

    def draw(rng: Rng) -> tuple[Estimate, float]:
        long = rng.gamma(12, 4, (2, groups))
        lengths = np.where(rng.random((2, groups)) < 1 / 8, rng.integers(1, 9, (2, groups)), long)
        return ratio(list(lengths[0]), list(lengths[1]), range(groups)), 1.0

    return draw


def a_perplexity(groups: int) -> Draw:
    def draw(rng: Rng) -> tuple[Estimate, float]:
        losses = rng.gamma(20, 1.5 / 20, groups)
        return exponential([(float(loss), str(i)) for i, loss in enumerate(losses)]), math.exp(1.5)

    return draw


def an_area(groups: int, shift: float, correlation: float) -> Draw:
    """Both answers to a prompt share a part; the area is Phi(shift / sqrt(2)), ties aside."""

    def draw(rng: Rng) -> tuple[Estimate, float]:
        common = math.sqrt(correlation) * rng.normal(size=groups)
        apart = math.sqrt(1 - correlation) * rng.normal(size=(2, groups))
        names = [str(i) for i in range(groups)]
        marked, plain = common + apart[0] + shift, common + apart[1]
        return auroc(list(marked), list(plain), names), float(norm.cdf(shift / math.sqrt(2)))

    return draw


def an_area_apart(marked: int, plain: int, shift: float) -> Draw:
    def draw(rng: Rng) -> tuple[Estimate, float]:
        figure = auroc_apart(
            list(rng.normal(shift, 1, marked)), [f"m{i}" for i in range(marked)],
            list(rng.normal(0, 1, plain)), [f"p{i}" for i in range(plain)],
        )  # fmt: skip
        return figure, float(norm.cdf(shift / math.sqrt(2)))

    return draw


def a_comparison(groups: int, p: float, better: float) -> Draw:
    """Of two models that answer four items of a group; the second gets some more right."""

    def draw(rng: Rng) -> tuple[Estimate, float]:
        own = np.repeat(chances(rng, groups, p, 0.3), 4)
        a = rng.random(len(own)) < own
        b = a | (rng.random(len(own)) < better)
        owner = [str(i // 4) for i in range(len(own))]
        return difference("x", list(a), list(b), owner).difference, (1 - p) * better

    return draw


KINDS: dict[str, Draw] = {
    "rate of one half": a_rate(150, 0.5, 0.3),
    "high rate": a_rate(150, 0.9, 0.3),
    "high rate of independent rows": a_rate(150, 0.9, 0.0),
    "rate of few groups": a_rate(60, 0.8, 0.1),
    "share": a_share(100, 0.7, 0.05),
    "lift": a_lift(100, 0.9, 0.3),
    "small lift": a_lift(140, 0.35, 0.3),
    "mean": a_mean(100),
    "ratio of lengths": a_ratio_of_lengths(100),
    "perplexity": a_perplexity(100),
    "area": an_area(100, 1.0, 0.0),
    "area of like answers": an_area(100, 1.0, 0.6),
    "area against unmarked texts": an_area_apart(140, 60, 1.0),
    "difference of two models": a_comparison(100, 0.8, 0.25),
    # Prompts that hardly differ: what is added for those that were not seen must not be most of it.
    "bias": a_bias(106, 0.98),
    "share of like answers": a_share_of_one_answer(106, 0.64, 0.066),
    "difference of like groups": a_close_comparison(106, 0.09),
}


def an_area_with_failures(marked: int, plain: int, failing: float) -> Draw:
    """Marked answers above every unmarked text, but for those that fail outright."""

    def draw(rng: Rng) -> tuple[Estimate, float]:
        values = np.where(rng.random(marked) < failing, -10.0, 10.0)
        figure = auroc_apart(
            list(values), [f"m{i}" for i in range(marked)],
            list(rng.normal(size=plain)), [f"p{i}" for i in range(plain)],
        )  # fmt: skip
        return figure, 1 - failing

    return draw


def a_rare_gain(groups: int, gained: float) -> Draw:
    """A lift of two arms that hardly ever differ."""

    def draw(rng: Rng) -> tuple[Estimate, float]:
        return bounded(
            list((rng.random(groups) < gained).astype(float)), range(groups), -1, 1
        ), gained

    return draw


def a_power(answers: int, shift: float) -> Draw:
    """Above the 1 % of the plain ones; the truth is that of the threshold which nobody knows."""

    def draw(rng: Rng) -> tuple[Estimate, float]:
        names = [str(i) for i in range(answers)]
        marked, plain = rng.normal(shift, 1, answers), rng.normal(0, 1, answers)
        return power(list(marked), list(plain), names), float(norm.sf(norm.isf(0.01) - shift))

    return draw


def a_power_apart(marked: int, plain: int, shift: float) -> Draw:
    def draw(rng: Rng) -> tuple[Estimate, float]:
        figure = power_apart(
            list(rng.normal(shift, 1, marked)), [f"m{i}" for i in range(marked)],
            list(rng.normal(0, 1, plain)), [f"p{i}" for i in range(plain)],
        )  # fmt: skip
        return figure, float(norm.sf(norm.isf(0.01) - shift))

    return draw


# So little was seen that the interval can only be too wide.
SCANT: dict[str, Draw] = {
    "area of five answers": an_area_apart(5, 1000, 2.5),
    "area of twenty answers": an_area_apart(20, 1000, 2.5),
    "area of an almost perfect mark": an_area_with_failures(100, 1000, 0.03),
    "lift of almost none": a_rare_gain(100, 0.02),
    "lift of a few": a_rare_gain(50, 0.1),
    "lift of a few in many": a_rare_gain(200, 0.026),
    # The counts above a threshold are few and whole numbers, whose intervals are wider.
    "power": a_power(1000, 2.5),
    "power of a strong mark": a_power(600, 4.0),
    "power against few unmarked texts": a_power_apart(500, 300, 2.5),
    "power against many": a_power_apart(140, 1000, 1.5),
}


def coverage(draw: Draw, sets: int, seed: int) -> float:
    """Share of simulated data sets whose interval holds the truth."""
    rng = np.random.default_rng(seed)
    held = 0
    for _ in range(sets):
        figure, truth = draw(rng)
        assert figure.low is not None
        assert figure.high is not None
        held += figure.low <= truth <= figure.high
    return held / sets


def named(test: Any) -> Any:
    return pytest.mark.parametrize("kind", KINDS)(test)


@named
def test_intervals_cover_in_a_fast_slice(kind: str) -> None:
    # 300 sets tell too narrow an interval from one that covers, and hardly too wide a one.
    assert 0.91 <= coverage(KINDS[kind], 300, seed=2) <= 0.995


@pytest.mark.parametrize("kind", SCANT)
def test_intervals_of_scant_data_err_on_the_wide_side(kind: str) -> None:
    assert coverage(SCANT[kind], 300, seed=2) >= 0.93


@pytest.mark.slow
@named
def test_intervals_cover_93_to_97_percent_of_2000_data_sets(kind: str) -> None:
    assert 0.93 <= coverage(KINDS[kind], 2000, seed=3) <= 0.97
