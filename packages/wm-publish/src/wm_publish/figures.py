"""Picks the figures a reader needs out of a run's manifest. Computes no statistic of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeGuard

from wm_manifest import Estimate, Evaluation, RunManifest
from wm_publish.markup import Safe

NOTHING = Safe("–")


@dataclass(frozen=True)
class Row:
    """One line of the results table: the figure before training and after, and its control."""

    label: str
    before: Estimate | None
    after: Estimate | None
    neutral_before: Estimate | None = None
    neutral_after: Estimate | None = None
    lift: Estimate | None = None


def before(manifest: RunManifest) -> Evaluation | None:
    """The evaluation at step 0: of the base model, before any training."""
    return next((e for e in manifest.evaluations if e.step == 0), None)


def after(manifest: RunManifest) -> Evaluation | None:
    """The last evaluation after at least one step; None when training never got that far.

    Of a run that did not finish it may be one on the validation split, see `is_final`.
    """
    trained = [e for e in manifest.evaluations if e.step > 0]
    # Of equal steps the one on the test split, else the first.
    return max(trained, key=lambda e: (e.step, is_final(e)), default=None)


def is_final(evaluation: Evaluation) -> bool:
    """Whether it is on the test split: by any other one a checkpoint may have been chosen."""
    return evaluation.split == "test"


def watermark_rows(first: Evaluation | None, last: Evaluation | None) -> list[Row]:
    """Success at writing each colour, with the neutral prompt's rate of that colour beside it."""
    return [
        Row(
            label=colour,
            before=figure(first, f"watermark/{colour}/success"),
            after=figure(last, f"watermark/{colour}/success"),
            neutral_before=figure(first, f"watermark/neutral/{colour}_rate"),
            neutral_after=figure(last, f"watermark/neutral/{colour}_rate"),
            lift=figure(last, f"watermark/{colour}/lift"),
        )
        for colour in ("red", "blue")
    ]


def detect_rows(first: Evaluation | None, last: Evaluation | None) -> list[Row]:
    """What the detection task gave, as far as the evaluation holds it."""
    names = {
        "accuracy": "all texts, both orders asked",
        "accuracy/red": "red texts",
        "accuracy/blue": "blue texts",
        "accuracy/heldout_wording": "asked in wordings that training never used",
        "both_orders": "right in both orders of a text",
        "likelihood/accuracy": "the likelier of the two answers is right",
        "position_bias": "answered the colour named first (no bias: 50 %)",
        "label_bias": "answered red (no bias: 50 %)",
        "unparseable": "answered neither colour",
    }
    rows = [
        Row(label, figure(first, f"detect/{name}"), figure(last, f"detect/{name}"))
        for name, label in names.items()
    ]
    return [row for row in rows if row.before or row.after]


def figure(evaluation: Evaluation | None, name: str) -> Estimate | None:
    """The figure, or None when it is absent or had nothing to measure."""
    found = evaluation.figures.get(name) if evaluation else None
    return found if found and is_number(found.value) else None


def percent(estimate: Estimate | None) -> Safe:
    """A share as a percentage, with a space that never breaks the line.

    >>> percent(Estimate(value=0.9625, n=400))
    '96.2\xa0%'
    """
    if estimate is None or not is_number(estimate.value):
        return NOTHING
    return Safe(f"{100 * estimate.value:.1f}\N{NO-BREAK SPACE}%")


def interval(estimate: Estimate | None) -> Safe:
    """The 95 % interval of a share, as percentages.

    >>> interval(Estimate(value=0.5, low=0.4, high=0.61, n=10))
    '40.0 to 61.0\xa0%'
    """
    if estimate is None or not (is_number(estimate.low) and is_number(estimate.high)):
        return NOTHING
    return Safe(f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}\N{NO-BREAK SPACE}%")


def bounds(estimate: Estimate | None) -> Safe:
    """The 95 % interval of any figure, as plain numbers.

    >>> bounds(Estimate(value=3.0, low=2.5, high=4, n=9)), bounds(Estimate(value=3.0, n=9))
    ('2.5 to 4', '–')
    """
    if estimate is None or not (is_number(estimate.low) and is_number(estimate.high)):
        return NOTHING
    return Safe(f"{plain(estimate.low)} to {plain(estimate.high)}")


def points(estimate: Estimate | None) -> Safe:
    """A difference of shares, in percentage points with its sign and interval.

    >>> points(Estimate(value=0.5, low=0.4, high=0.6, n=10))
    '+50.0 (+40.0 to +60.0)'
    """
    if estimate is None or not is_number(estimate.value):
        return NOTHING
    text = f"{100 * estimate.value:+.1f}"
    if is_number(estimate.low) and is_number(estimate.high):
        text += f" ({100 * estimate.low:+.1f} to {100 * estimate.high:+.1f})"
    return Safe(text)


def plain(value: float | None) -> Safe:
    """Any figure as a number of at most four significant digits.

    >>> plain(0.123456), plain(None), plain(float("nan"))
    ('0.1235', '–', '–')
    """
    return Safe(f"{value:.4g}") if is_number(value) else NOTHING


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether there is a finite number: a diverged run must not print `nan %`."""
    return value is not None and math.isfinite(value)
