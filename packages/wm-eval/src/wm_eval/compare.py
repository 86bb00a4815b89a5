"""Compares two evaluation folders item by item. Asks no model, loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from scipy import stats as scipy_stats

from wm_eval import answers as answers_file
from wm_eval.answers import Answer, pairs, select
from wm_eval.errors import WmEvalError
from wm_eval.question import COLOURS
from wm_eval.stats import bounded
from wm_manifest import Estimate, EvalReport, ManifestError, load

ALPHA = 0.05


@dataclass(frozen=True)
class Difference:
    """What B has more than A at one figure, on the items that both were asked."""

    name: str
    a: float
    b: float
    difference: Estimate  # b - a, clustered by prompt group
    only_a: int  # items that A got and B did not
    only_b: int
    p: float | None  # exact McNemar; None where items of one group make its null wrong
    verdict: str


def compare(a: str | Path, b: str | Path) -> list[Difference]:
    """Each rate that both have, paired by item. Raises `WmEvalError` where nothing pairs."""
    first, second = _read(Path(a)), _read(Path(b))
    for name in ("dataset_sha256", "split", "codebook"):
        ours, theirs = getattr(first[0], name), getattr(second[0], name)
        if ours != theirs:
            raise WmEvalError(
                f"{a} and {b} were not asked the same: {name} is {ours} and {theirs}; "
                "evaluate both on one dataset"
            )
    outcomes_a, outcomes_b = outcomes(first[1]), outcomes(second[1])
    found: list[Difference] = []
    for name, ours in outcomes_a.items():
        theirs = outcomes_b.get(name, {})
        shared = [id for id in ours if id in theirs]
        if shared:
            found.append(
                difference(
                    name,
                    [ours[id][1] for id in shared],
                    [theirs[id][1] for id in shared],
                    [ours[id][0] for id in shared],
                )
            )
    if not found:
        raise WmEvalError(f"{a} and {b} have no item in common; use one split, limit and seed")
    return found


def difference(
    name: str, a: Sequence[bool], b: Sequence[bool], groups: Sequence[str]
) -> Difference:
    """One paired comparison. The interval decides; McNemar's p stands beside it where it holds.

    >>> difference("x", [True] * 30, [True] * 30, [str(i) for i in range(30)]).verdict
    'no difference seen'
    """
    values = [float(y) - float(x) for x, y in zip(a, b, strict=True)]
    estimate = bounded(values, groups, low=-1.0, high=1.0)
    only_a, only_b = values.count(-1.0), values.count(1.0)
    discordant = only_a + only_b
    p = None
    if len(set(groups)) == len(groups):  # McNemar's items are independent: one a group
        p = 1.0 if discordant == 0 else _binomial(min(only_a, only_b), discordant)
    low, high = estimate.low or 0.0, estimate.high or 0.0
    beyond = low > 0 or high < 0 if p is None else p < ALPHA
    if beyond:
        verdict = "B is better" if sum(values) > 0 else "A is better"
    elif discordant < 6:  # the smallest number that can reach p < .05: 2 * 0.5 ** 6
        verdict = "no difference seen" if not discordant else "too few differ to tell"
    else:
        verdict = "no difference seen"
    return Difference(name, sum(a) / len(a), sum(b) / len(b), estimate, only_a, only_b, p, verdict)


def outcomes(answers: Sequence[Answer]) -> dict[str, dict[str, tuple[str, bool]]]:
    """Per figure: item -> (group, whether it was right)."""
    found: dict[str, dict[str, tuple[str, bool]]] = {}
    for colour in COLOURS:
        found[f"watermark/{colour}/success"] = {
            a.id: (a.group, a.passed) for a in select(answers, "watermark", colour)
        }
    found["detect/accuracy"] = {a.id: (a.group, a.passed) for a in select(answers, "detect")}
    found["detect/both_orders"] = {
        one.id: (one.group, one.passed and other.passed) for one, other in pairs(answers)
    }
    return found


def read_report(folder: Path) -> EvalReport:
    """The eval.json of a folder that `wm-eval --out` wrote."""
    try:
        return load(EvalReport, folder / "eval.json")
    except ManifestError as error:
        raise WmEvalError(f"{error}; is this a folder that wm-eval --out wrote?") from error


def _read(folder: Path) -> tuple[EvalReport, list[Answer]]:
    return read_report(folder), answers_file.read(folder / "samples.jsonl")


def _binomial(successes: int, trials: int) -> float:
    return float(cast(Any, scipy_stats.binomtest(successes, trials, 0.5)).pvalue)
