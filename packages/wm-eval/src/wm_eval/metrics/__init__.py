"""Every figure of an evaluation, by the file that computes it. Reads answers, asks no model.

A metric is a function from all judged answers to named estimates. To add one: write
`metrics/<name>.py` with a function `<name>(answers)`, and add a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wm_eval.answers import Answer
from wm_eval.metrics.accuracy import accuracy
from wm_eval.metrics.base import base
from wm_eval.metrics.calibration import calibration
from wm_eval.metrics.evidence import evidence
from wm_eval.metrics.lift import lift
from wm_eval.metrics.likelihood import likelihood
from wm_eval.metrics.orders import orders
from wm_eval.metrics.quality import quality
from wm_eval.metrics.readers import readers
from wm_eval.metrics.robustness import robustness
from wm_eval.metrics.separation import separation
from wm_eval.metrics.shares import shares
from wm_eval.metrics.strata import strata
from wm_eval.metrics.success import success
from wm_eval.metrics.unmarked import unmarked
from wm_manifest import Estimate

Metric = Callable[[Sequence[Answer]], dict[str, Estimate]]

METRICS: dict[str, Metric] = {
    "success": success,
    "lift": lift,
    "shares": shares,
    "quality": quality,
    "separation": separation,
    "evidence": evidence,
    "accuracy": accuracy,
    "orders": orders,
    "likelihood": likelihood,
    "readers": readers,
    "strata": strata,
    "calibration": calibration,
    "unmarked": unmarked,
    "base": base,
    "robustness": robustness,
}


def compute(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """All figures, in the order of METRICS. Two metrics that give one name are an error of ours."""
    figures: dict[str, Estimate] = {}
    for metric in METRICS.values():
        found = metric(answers)
        assert not figures.keys() & found.keys(), f"named twice: {figures.keys() & found.keys()}"
        figures.update(found)
    return figures


__all__ = ["METRICS", "Metric", "compute"]
