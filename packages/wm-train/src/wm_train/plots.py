"""Learning curves of a run as PNG and HTML, from evaluations and log. Computes no figure."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wm_manifest import Evaluation
from wm_train import page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
DODGE = 0.008  # of the steps, between the points of two curves
SHARE = 0.01  # of a run's time, at most, but for the first and the last drawing
BOUNDS = (0.45, 0.55)  # of the rule: red above, blue below


# (part of the log's lines, title)
PARTS = [
    ("nll", "negative log-likelihood a token"),
    ("odds_ratio_loss", "odds ratio loss"),
    ("preference_accuracy", "share of pairs with the right one preferred"),
]
TASKS = [("watermark", "write", "#7a1fa2"), ("detect", "read", "#2f7d4f")]
NEUTRAL = ("neutral", "not asked", "#666666")
OFF_BASE = ("loss", "distance from the base where nobody asks")  # a part of NEUTRAL, where it is


def draw(
    evaluations: Sequence[Evaluation], lines: Sequence[Mapping[str, Any]], title: str, folder: Path
) -> list[Path]:
    """Draw a run's curves into `folder`, and a page that holds them; the PNG files' paths.

    `lines` are the log's lines of training. Every file is replaced whole: it may be open.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"learning-curves": learning_curves(evaluations, title)}
    if len(lines) > 1:
        figures["training"] = training_curves(lines, title)
    drawn: list[Path] = []
    for name, figure in figures.items():
        drawn.append(folder / f"{name}.png")
        _replace(drawn[-1], _rendered(figure, "png"))
    svgs = [_rendered(figure, "svg").decode("utf-8") for figure in figures.values()]
    _replace(folder / "learning-curves.html", page.render(title, svgs, evaluations).encode("utf-8"))
    return drawn


class Curves:
    """A run's pictures, drawn anew at an evaluation unless that would slow the run down.

    Not at the first one: a point is no curve. Drawing may take `SHARE` of the time since it last
    did. Evaluations that follow each other in seconds, as the demo's, leave the pictures of before;
    `last` draws whatever was not drawn yet.
    """

    def __init__(
        self, title: str, folder: Path, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self._title, self._folder, self._now = title, folder, now
        self._drawn: list[Path] = []
        self._evaluations = 0  # that are in the pictures
        self._next = float("-inf")  # when it may be drawn again

    def refresh(
        self, evaluations: Sequence[Evaluation], lines: Sequence[Mapping[str, Any]], last: bool
    ) -> list[Path]:
        """The PNG files' paths."""
        begun = self._now()
        due = len(evaluations) > 1 and begun >= self._next
        if len(evaluations) > self._evaluations and (last or due):
            self._drawn = draw(evaluations, lines, self._title, self._folder)
            self._evaluations = len(evaluations)
            ended = self._now()
            self._next = ended + (ended - begun) / SHARE
        return self._drawn


def learning_curves(evaluations: Sequence[Evaluation], title: str) -> Figure:
    """Both tasks and the shares over optimizer steps, with 95 % intervals."""
    figure = _figure(f"{title}: held-out items, with 95 % intervals")
    left, middle, right = figure.subplots(1, 3, sharey=True)
    _panel(left, "Writing: share of answers", WATERMARK, evaluations)
    _panel(middle, "Mean share of red tokens in an answer", SHARES, evaluations)
    middle.axhspan(*BOUNDS, color="#999999", alpha=0.2, linewidth=0, label="neither, by the rule")
    _panel(right, "Reading: share of texts", DETECT, evaluations)
    right.axhline(CHANCE, color="#999999", linewidth=0.8, label="chance of each order")
    for axes in (left, middle, right):
        axes.set_ylim(-0.02, 1.02)
        _legend(axes)
    left.set_ylabel("share")
    return figure


def training_curves(lines: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Parts of the training loss of each task, as they were logged."""
    figure = _figure(f"{title}: training pairs, means since the log line before")
    held = any(f"{NEUTRAL[0]}/{OFF_BASE[0]}" in line for line in lines)
    panels = [*PARTS, OFF_BASE] if held else PARTS
    figure.subplots_adjust(wspace=0.22)  # each panel has a scale of its own
    for axes, (part, heading) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for task, label, colour in [*TASKS, NEUTRAL]:
            found = [(line["step"], line.get(f"{task}/{part}")) for line in lines]
            shown = [(step, value) for step, value in found if value is not None]
            if shown:
                axes.plot(*zip(*shown, strict=True), color=colour, label=label)
        _axes(axes, heading)
        axes.set_ylim(bottom=0.0)
        _legend(axes)
    return figure


def _figure(title: str) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.8))
    FigureCanvasAgg(figure)  # no pyplot: its global state and display are not wanted in training
    # Room for the legends below. A layout engine would draw all of it three times to find the same.
    figure.subplots_adjust(left=0.04, right=0.99, top=0.86, bottom=0.26, wspace=0.1)
    figure.suptitle(title, fontsize=11)
    return figure


def _rendered(figure: Figure, form: str) -> bytes:
    import matplotlib as mpl

    out = io.BytesIO()
    unstamped = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[form]
    # Text as text: a third of the size, and a page that can be searched.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "wm"}):
        figure.savefig(out, format=form, dpi=130, metadata=unstamped)
    return out.getvalue()


def _replace(path: Path, content: bytes) -> None:
    staged = path.with_suffix(".staged")
    try:
        staged.write_bytes(content)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def _panel(
    axes: Axes,
    title: str,
    curves: Sequence[tuple[str, str, str, str]],
    evaluations: Sequence[Evaluation],
) -> None:
    """Curves with intervals: a whisker at each point, shaded for the first of a colour only.

    Points stand a little apart: intervals on top of each other could not be told apart.
    """
    apart = DODGE * max((e.step for e in evaluations), default=0)
    for place, (name, label, colour, style) in enumerate(curves):
        points = [(e.step, e.figures[name]) for e in evaluations if name in e.figures]
        drawn = [(step, f, f.value) for step, f in points if f.value is not None]
        if not drawn:
            continue
        steps = [step + apart * (place - (len(curves) - 1) / 2) for step, _, _ in drawn]
        axes.plot(steps, [v for _, _, v in drawn], style, color=colour, label=label, marker=".")
        low = [v if f.low is None else f.low for _, f, v in drawn]
        high = [v if f.high is None else f.high for _, f, v in drawn]
        axes.vlines(steps, low, high, color=colour, alpha=0.5, linewidth=1, linestyle=style)
        if style == "-":
            axes.fill_between(steps, low, high, color=colour, alpha=0.1, linewidth=0)
    _axes(axes, title)


def _axes(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("optimizer steps")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(axes: Axes) -> None:
    """Below the axes: no place inside stays free of curves in every run."""
    if not axes.get_legend_handles_labels()[0]:
        return  # nothing was measured
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
