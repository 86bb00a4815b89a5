"""Intervals cover what they claim, know clusters, and are scipy's where scipy has one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, t

from wm_eval.stats import bounded, effective_n, mean, rate, ratio


@pytest.mark.parametrize(("passed", "n"), [(45, 50), (50, 50), (0, 50), (25, 50), (1, 200)])
def test_one_observation_a_group_is_scipys_wilson_interval(
    passed: int, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # scipy's uses the normal quantile, ours Student's for the number of groups.
    monkeypatch.setattr("wm_eval.stats.student", lambda freedom: norm.ppf(0.975))
    ours = rate([i < passed for i in range(n)], range(n))
    theirs = binomtest(passed, n).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_all_right_is_not_an_interval_of_no_width() -> None:
    figure = rate([True] * 400, [i // 4 for i in range(400)])
    assert figure.high == 1
    assert figure.low == pytest.approx(
        binomtest(100, 100).proportion_ci(method="wilson").low, abs=0.002
    ), "each group counts once"


@pytest.mark.parametrize("per_group", [1, 4])
@pytest.mark.parametrize("groups", [10, 100, 1000])
def test_no_spread_is_at_least_the_rule_of_three(groups: int, per_group: int) -> None:
    # A lift of 0 everywhere: up to 3 in G unseen prompts may still differ, by 1 each.
    owner = [i // per_group for i in range(groups * per_group)]
    figure = bounded([0.0] * len(owner), owner, -1, 1)
    exact = 1 - 0.05 ** (1 / groups)  # none of G differs: 95 % bound on the share that does
    assert exact <= (figure.high or 0) <= 2 * exact
    assert figure.low == pytest.approx(-(figure.high or 0))


def test_half_right_in_every_group_rests_on_groups_not_on_rows() -> None:
    few = rate([True, False] * 50, [i // 2 for i in range(100)])
    many = rate([True, False] * 500, [i // 20 for i in range(1000)])
    assert (few.low, few.high) == pytest.approx((many.low, many.high))


def test_unbounded_mean_is_scipys_t_interval_without_clusters() -> None:
    values = np.random.default_rng(0).normal(3, 2, 40)
    ours = mean(list(values), range(40))
    theirs = t.interval(0.95, 39, values.mean(), values.std(ddof=1) / 40**0.5)
    assert (ours.low, ours.high) == pytest.approx(theirs)


@pytest.mark.parametrize("estimate", [rate, bounded, mean])
def test_duplicating_every_row_changes_no_interval(estimate: object) -> None:
    rng = np.random.default_rng(1)
    groups = list(rng.integers(0, 40, 200))
    values = [float(v) for v in rng.random(200) < 0.8]
    once, twice = estimate(values, groups), estimate(values * 2, groups * 2)  # type: ignore[operator]
    assert twice.n == 2 * once.n
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high), rel=0.02)


def test_groups_that_always_agree_count_once_each() -> None:
    sizes = np.full(30, 6.0)
    assert effective_n(sizes * ([0, 1] * 15), sizes) == pytest.approx(30)
    assert effective_n(np.arange(30) % 2 * 1.0, np.ones(30)) == pytest.approx(30)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=60),
)
def test_a_rate_lies_in_its_interval_and_the_interval_in_the_unit(
    rows: list[tuple[bool, int]],
) -> None:
    figure = rate([v for v, _ in rows], [g for _, g in rows])
    assert figure.low is not None
    assert figure.high is not None
    assert 0 <= figure.low <= (figure.value or 0) <= figure.high <= 1


@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 9)), min_size=1, max_size=40))
def test_order_of_rows_changes_nothing(rows: list[tuple[float, int]]) -> None:
    one = bounded([v for v, _ in rows], [g for _, g in rows], -1, 1)
    other = bounded([v for v, _ in rows[::-1]], [g for _, g in rows[::-1]], -1, 1)
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))


def test_ignoring_clusters_would_not_cover() -> None:
    # The same data with every row its own group: the mistake this module is there for.
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(300):
        own = rng.random(60) < 0.5
        held += (r := rate(list(np.repeat(own, 6)), range(360))).low <= 0.5 <= r.high  # type: ignore[operator]
    assert held / 300 < 0.7


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_what_many_groups_say_of_their_spread_is_not_widened(low: float) -> None:
    """A dozen answers a group, as many right in one as in the next but for chance: in the middle of
    its range Wilson's interval is then that of the clustered variance, and no wider."""
    rng = np.random.default_rng(6)
    owner = [i // 12 for i in range(106 * 12)]
    labels = np.tile([True, False], 106 * 6)  # names red: the label, but for one in ten
    named = [float(x) for x in labels ^ (rng.random(len(labels)) < 0.1)]
    found, plain = bounded(named, owner, low), mean(named, owner)
    assert found.low is not None
    assert found.high is not None
    assert plain.low is not None
    assert plain.high is not None
    assert found.high - found.low == pytest.approx(plain.high - plain.low, rel=0.05)


def test_a_ratio_is_of_the_sums_and_as_sure_as_the_bootstrap_says() -> None:
    rng = np.random.default_rng(7)
    below = rng.gamma(12, 4, 200)
    below[:20] = 2  # the mean of the pairs' ratios is 3.3
    above = rng.gamma(12, 4, 200)
    found = ratio(list(above), list(below), range(200))
    assert found.value == pytest.approx(above.sum() / below.sum())
    drawn = rng.integers(0, 200, (4000, 200))
    ends = np.quantile(above[drawn].sum(axis=1) / below[drawn].sum(axis=1), [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(ends, abs=0.02)


def test_duplicating_every_pair_changes_no_ratio() -> None:
    rng = np.random.default_rng(8)
    above, below = rng.gamma(12, 4, (2, 60)).tolist()
    once, twice = ratio(above, below, range(60)), ratio(above * 2, below * 2, [*range(60)] * 2)
    assert (twice.value, twice.low, twice.high) == pytest.approx((once.value, once.low, once.high))
    assert twice.n == 2 * once.n
