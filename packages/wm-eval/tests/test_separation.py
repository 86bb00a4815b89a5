"""AUROC is scipy's, and power never uses a threshold fitted on what it judges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from wm_eval.answers import Answer
from wm_eval.metrics.power import power
from wm_eval.metrics.quality import distinct_share, seq_rep
from wm_eval.metrics.separation import auroc, separation
from wm_eval.question import ARMS


def draws(n: int, shift: float) -> tuple[list[float], list[float], list[str]]:
    rng = np.random.default_rng(0)
    marked = np.round(rng.normal(0.5 + shift, 0.1, n), 2)
    plain = np.round(rng.normal(0.5, 0.1, n), 2)  # rounded: ties occur
    return list(marked), list(plain), [str(i) for i in range(n)]


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5])
def test_auroc_is_the_mann_whitney_statistic(shift: float) -> None:
    marked, plain, groups = draws(80, shift)
    statistic = mannwhitneyu(marked, plain).statistic / (80 * 80)
    assert auroc(marked, plain, groups).value == pytest.approx(statistic)


def test_power_on_equal_arms_is_the_false_positive_rate_and_not_above() -> None:
    rng = np.random.default_rng(2)
    found = [
        power(list(rng.random(800)), list(rng.random(800)), list(map(str, range(800)))).value
        for _ in range(60)
    ]
    assert np.mean([value for value in found if value is not None]) == pytest.approx(
        0.01, abs=0.003
    )


def test_no_power_is_claimed_from_too_few_negatives() -> None:
    marked, plain, groups = draws(599, 0.5)
    assert power(marked, plain, groups).value is None
    marked, plain, groups = draws(600, 0.5)
    assert power(marked, plain, groups).value is not None


def test_power_is_that_of_the_coloured_answers() -> None:
    """Six hundred prompts, asked for red with success and for blue in vain."""

    def written(group: int, arm: str) -> Answer:
        red = {"red": 15, "blue": 10, "neutral": 5 + group % 5}[arm]
        return Answer(
            id=f"watermark/{group}/{arm}", task="watermark", group=str(group), arm=arm, variant="",
            heldout_wording=False, messages=[], expected=None, text="", answer="", tokens=20,
            stopped=True, options={}, kind="ok", verdict="none", even=red, odd=20 - red, ignored=0,
            passed=False,
        )  # fmt: skip

    found = separation([written(group, arm) for group in range(600) for arm in ARMS])
    assert found["watermark/red/tpr_at_1pct_fpr"].value == 1
    assert found["watermark/blue/tpr_at_1pct_fpr"].value == 0
    assert found["watermark/red/auroc"].value == 1
    assert found["watermark/blue/auroc"].value == 0


def test_repetition_is_a_fraction_and_compares_ids_by_value() -> None:
    loop = [int(f"{10_000 + i % 2}") for i in range(40)]  # fresh objects: equal, not identical
    assert seq_rep(loop) == pytest.approx(36 / 38)
    assert distinct_share(" the" * 99 + " river", "blue") == 0.5  # two ids, one of them odd
