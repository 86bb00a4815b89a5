"""Learning curves of a run as a PNG, from its manifest's evaluations. Computes no figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wm_manifest import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# (figure, label, colour, line style) of each panel's curves
WATERMARK = [
    ("watermark/red/success", "asked for red: answer is red", "#c8102e", "-"),
    ("watermark/blue/success", "asked for blue: answer is blue", "#1f4fbf", "-"),
    ("watermark/neutral/red_rate", "not asked: answer is red", "#c8102e", ":"),
    ("watermark/neutral/blue_rate", "not asked: answer is blue", "#1f4fbf", ":"),
]
DETECT = [
    ("detect/accuracy", "right in each order", "#2f7d4f", "-"),
    ("detect/both_orders", "right in both orders of a text", "#14532d", "--"),
    ("detect/likelihood/accuracy", "likelier word is right", "#b07d1a", ":"),
]
SHARES = [
    ("watermark/red/red_share", "asked for red", "#c8102e", "-"),
    ("watermark/blue/red_share", "asked for blue", "#1f4fbf", "-"),
    ("watermark/neutral/red_share", "not asked", "#666666", ":"),
]
CHANCE = 0.5
BOUNDS = (0.45, 0.55)  # of the rule: red above, blue below


def learning_curves(evaluations: Sequence[Evaluation], title: str, path: Path) -> None:
    """Draw both tasks and the shares over optimizer steps, 95 % intervals shaded (PNG)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.8), layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: its global state and display are not wanted in training
    left, middle, right = figure.subplots(1, 3, sharey=True)
    _panel(left, "Writing: share of answers", WATERMARK, evaluations)
    _panel(middle, "Mean share of red tokens in an answer", SHARES, evaluations)
    middle.axhspan(*BOUNDS, color="#999999", alpha=0.2, linewidth=0, label="neither, by the rule")
    _panel(right, "Reading: share of texts", DETECT, evaluations)
    right.axhline(CHANCE, color="#999999", linewidth=0.8, label="chance of each order")
    for axes in (left, middle, right):
        _legend(axes)
    left.set_ylabel("share")
    figure.suptitle(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def _panel(
    axes: Axes,
    title: str,
    curves: Sequence[tuple[str, str, str, str]],
    evaluations: Sequence[Evaluation],
) -> None:
    for name, label, colour, style in curves:
        points = [(e.step, e.figures[name]) for e in evaluations if name in e.figures]
        drawn = [(step, f, f.value) for step, f in points if f.value is not None]
        if not drawn:
            continue
        steps = [step for step, _, _ in drawn]
        axes.plot(steps, [v for _, _, v in drawn], style, color=colour, label=label, marker=".")
        low = [v if f.low is None else f.low for _, f, v in drawn]
        high = [v if f.high is None else f.high for _, f, v in drawn]
        axes.fill_between(steps, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("optimizer steps")
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(axes: Axes) -> None:
    """Below the axes: no place inside stays free of curves in every run."""
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
