"""An evaluation as a terminal shows it: tables and warnings. Computes nothing, prints nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wm_manifest import Control, Estimate, EvalReport

if TYPE_CHECKING:
    from rich.table import Table

    from wm_eval.compare import Difference

HEADLINES = (
    "watermark/red/success",
    "watermark/blue/success",
    "watermark/neutral/red_rate",
    "watermark/neutral/blue_rate",
    "watermark/red/lift",
    "watermark/blue/lift",
    "watermark/red/lift_over_base",
    "watermark/blue/lift_over_base",
    "watermark/red/base_ppl_ratio",
    "watermark/blue/base_ppl_ratio",
    "watermark/red/red_share",
    "watermark/blue/blue_share",
    "watermark/neutral/red_share",
    "detect/accuracy",
    "detect/accuracy/red",
    "detect/accuracy/blue",
    "detect/both_orders",
    "detect/position_bias",
    "detect/label_bias",
    "detect/unparseable",
    "detect/likelihood/accuracy",
    "detect/likelihood/both_orders",
    "detect/likelihood/ece",
    "detect/own/red/both_orders",
    "detect/own/blue/both_orders",
    "unmarked/red_false_positives",
    "unmarked/blue_false_positives",
)


def number(value: float | None) -> str:
    """Three places, or a dash where there was nothing to measure.

    >>> number(0.5), number(None), number(-0.0001)
    ('0.500', '-', '0.000')
    """
    return "-" if value is None else f"{value:.3f}".replace("-0.000", "0.000")


def interval(estimate: Estimate) -> str:
    """The 95 % interval, or a dash.

    >>> interval(Estimate(value=0.5, low=0.4, high=0.6, n=9))
    '0.400 to 0.600'
    """
    if estimate.low is None or estimate.high is None:
        return "-"
    return f"{number(estimate.low)} to {number(estimate.high)}"


def table(report: EvalReport, every_figure: bool = False) -> Table:
    """Figures with interval, n and prompt groups; the headlines unless all are asked for."""
    from rich.table import Table
    from rich.text import Text

    decoding = report.decoding
    grid = Table(
        # Not a str: a path may look like markup.
        title=Text(f"{report.model.location} on {report.dataset}/{report.split}"),
        caption=f"temperature {decoding.temperature:g}, top-p {decoding.top_p:g}, "
        f"top-k {decoding.top_k}, seed {decoding.seed}, questions about texts {decoding.detect}; "
        "intervals clustered by prompt",
    )
    for name, side in (
        ("figure", "left"),
        ("value", "right"),
        ("95 % interval", "right"),
        ("n", "right"),
        ("prompts", "right"),
    ):
        grid.add_column(name, justify="right" if side == "right" else "left", no_wrap=True)
    names = report.figures if every_figure else [n for n in HEADLINES if n in report.figures]
    for name in names:
        estimate = report.figures[name]
        grid.add_row(
            name,
            number(estimate.value),
            interval(estimate),
            str(estimate.n),
            str(estimate.n_groups),
        )
    return grid


def comparison(found: Sequence[Difference], a: str, b: str) -> Table:
    """Paired differences as a table."""
    from rich.table import Table
    from rich.text import Text

    luck = f"of {len(found)} figures of two equal models about one in twenty is better by luck"
    caption = f"B - A, paired by item, clustered by prompt; {luck}"
    grid = Table(title=Text(f"A = {a}, B = {b}"), caption=caption)
    heads = ("figure", "n", "A", "B", "B - A", "95 % interval", "only A, B", "p", "verdict")
    for name in heads:
        text = name in ("figure", "verdict")
        # A narrow terminal may break a verdict in two, never a figure's name or a number.
        grid.add_column(name, justify="left" if text else "right", no_wrap=name != "verdict")
    for d in found:
        grid.add_row(
            d.name,
            str(d.difference.n),
            number(d.a),
            number(d.b),
            number(d.difference.value),
            interval(d.difference),
            f"{d.only_a}, {d.only_b}",
            number(d.p),
            d.verdict,
        )
    return grid


def warning(report: EvalReport) -> str:
    """The failed controls in words; "" when all passed."""
    invalid, notes = failed_controls(report)
    lines = ["THIS EVALUATION IS NOT VALID. Failed controls:", *map(found, invalid)]
    noted = ["Note, about the model and not the evaluation:", *map(found, notes)]
    return "\n".join((lines if invalid else []) + (noted if notes else []))


def failed_controls(report: EvalReport) -> tuple[list[Control], list[Control]]:
    """The failed controls that make a report invalid, and those that are findings."""
    failed = [control for control in report.controls if not control.passed]
    return [c for c in failed if c.blocking], [c for c in failed if not c.blocking]


def found(control: Control) -> str:
    """What a control found and what it expected, on one line."""
    return f"  {control.name}: found {number(control.value)}, expected {control.expected}"
