"""An evaluation as a terminal shows it: tables and warnings. Computes nothing, prints nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wm_manifest import Control, Decoding, Estimate, EvalReport, ModelRef

if TYPE_CHECKING:
    from rich.table import Table

HEADLINES = (
    "watermark/red/success",
    "watermark/red/success/sound",
    "watermark/blue/success",
    "watermark/blue/success/sound",
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


def named(model: ModelRef) -> str:
    """The model and, where it has one, its adapter.

    >>> named(ModelRef(location="me/base", adapter="runs/a/adapter"))
    'me/base + runs/a/adapter'
    """
    return f"{model.location} + {model.adapter}" if model.adapter else model.location


def decoded(how: Decoding) -> str:
    """How answers were chosen, and those about texts where that was otherwise.

    >>> decoded(Decoding(
    ...     temperature=0.7, top_p=0.8, top_k=20, max_new_tokens=64, batch_size=8, seed=0
    ... ))
    'temperature 0.7, top-p 0.8, top-k 20, seed 0'
    """
    if how.temperature == 0:
        return f"answers of the likeliest tokens, seed {how.seed}"
    greedy = ", questions about texts greedy" if how.detect == "greedy" else ""
    return (
        f"temperature {how.temperature:g}, top-p {how.top_p:g}, top-k {how.top_k}, "
        f"seed {how.seed}{greedy}"
    )


def table(report: EvalReport, every_figure: bool = False) -> Table:
    """Figures with interval, n and prompt groups; the headlines unless all are asked for."""
    from rich.table import Table
    from rich.text import Text

    mark = "" if report.valid else ": NOT VALID"  # stdout alone may be kept, without the warning
    grid = Table(
        # Not a str: a path may look like markup.
        title=Text(f"{named(report.model)} on {report.dataset}/{report.split}{mark}"),
        caption=f"{decoded(report.decoding)}; intervals clustered by prompt",
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


def warning(report: EvalReport) -> str:
    """The failed controls in words; "" when all passed."""
    invalid, notes = failed_controls(report)
    said = {
        "THIS EVALUATION IS NOT VALID. Failed controls:": invalid,
        "Note, about the model and not the evaluation:": notes,
    }
    blocks = [[head, *(f"  {unmet(c)}" for c in failed)] for head, failed in said.items() if failed]
    return "\n".join(line for block in blocks for line in block)


def failed_controls(report: EvalReport) -> tuple[list[Control], list[Control]]:
    """The failed controls that make a report invalid, and those that are findings."""
    failed = [control for control in report.controls if not control.passed]
    return [c for c in failed if c.blocking], [c for c in failed if not c.blocking]


def unmet(control: Control) -> str:
    """A failed control on one line. Its name alone says what holds when it has passed.

    >>> unmet(Control(name="labels are balanced", passed=False, value=1, expected="at most 0.55"))
    'does not hold: labels are balanced (found 1.000, expected at most 0.55)'
    """
    measured = "" if control.value is None else f"found {number(control.value)}, "
    return f"does not hold: {control.name} ({measured}expected {control.expected})"
