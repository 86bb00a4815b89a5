"""Whether the stated probability of a colour is the share of texts that have it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wm_eval.answers import Answer, select
from wm_eval.stats import bounded, rate
from wm_manifest import Estimate

BINS = 10


def calibration(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """Brier score, expected calibration error, and share of red texts by bin of the stated one.

    The stated probability of red is that among the two words. Brier, Monthly Weather Review 1950:
    the mean squared error, 0.25 for a model that always says one half. The calibration error is
    the mean over bins of |stated - happened|, weighted by their size (Naeini et al., AAAI 2015);
    by chance alone it is above 0, about 1 / sqrt(n). Its interval holds the direction of each
    bin's error fixed. Log-probabilities that are no numbers count as wholly wrong in both.
    """
    own = [a for a in select(answers, "detect") if a.options]
    if not own:
        return {}
    groups = [a.group for a in own]
    happened = [a.expected == "red" for a in own]
    stated = [stated_red(a) for a in own]
    squares = [
        1.0 if math.isnan(p) else (p - h) ** 2 for p, h in zip(stated, happened, strict=True)
    ]
    figures = {
        "detect/likelihood/brier": bounded(squares, groups),
        "detect/likelihood/ece": calibration_error(stated, happened, groups),
    }
    for number in range(BINS):
        part = [i for i, p in enumerate(stated) if bin_of(p) == number]
        figures[f"detect/likelihood/reliability/{bin_name(number)}"] = rate(
            [happened[i] for i in part], [groups[i] for i in part]
        )
    return figures


def calibration_error(
    stated: Sequence[float], happened: Sequence[bool], groups: Sequence[str]
) -> Estimate:
    """Mean of |stated - happened| over bins, weighted by size; 1 where nothing was stated."""
    errors = [1.0 if math.isnan(p) else h - p for p, h in zip(stated, happened, strict=True)]
    totals: dict[int, float] = {}
    for p, error in zip(stated, errors, strict=True):
        totals[bin_of(p)] = totals.get(bin_of(p), 0.0) + error
    signed = [
        error if totals[bin_of(p)] >= 0 else -error for p, error in zip(stated, errors, strict=True)
    ]
    found = bounded(signed, groups, low=-1.0, high=1.0)
    return found.model_copy(update={"low": None if found.low is None else max(0.0, found.low)})


def bin_of(p: float) -> int:
    """Which tenth; 1 belongs to the last, what is no number to one of its own.

    >>> bin_of(0.0), bin_of(0.1), bin_of(1.0), bin_of(math.nan)
    (0, 1, 9, -1)
    """
    return -1 if math.isnan(p) else min(BINS - 1, int(p * BINS))


def bin_name(number: int) -> str:
    """The tenth as its figure names it.

    >>> bin_name(0), bin_name(9)
    ('0.0-0.1', '0.9-1.0')
    """
    return f"{number / BINS:.1f}-{(number + 1) / BINS:.1f}"


def stated_red(answer: Answer) -> float:
    """Probability of red among the two words; NaN where the log-probabilities are none."""
    red, blue = answer.options["red"], answer.options["blue"]
    return 1 / (1 + math.exp(min(700.0, blue - red))) if not math.isnan(red - blue) else math.nan
