"""Renders an evaluation folder as one self-contained HTML page, and its plots as files beside it.

Computes no figure of its own.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2

from wm_eval import drawing
from wm_eval.answers import Answer, select
from wm_eval.errors import WmEvalError
from wm_eval.folder import PAGE, PLOTS, read, read_report
from wm_eval.metrics.calibration import BINS, bin_name
from wm_eval.question import ARMS, COLOURS
from wm_eval.samples import pieces
from wm_eval.show import HEADLINES, decoded, failed_controls, interval, named, number, unmet
from wm_manifest import EvalReport

MOST_SAMPLES = 200  # the page stays small enough for a laptop's browser

log = logging.getLogger(__name__)


def write_page(folder: str | Path) -> Path:
    """Write report.html into `folder`, which `wm-eval --out` wrote; steps beside it give curves.

    The page's plots are written to `plots/` as SVG files as well, for documents of one's own.
    """
    folder = Path(folder)
    report, answers = read(folder)
    history = [report] if report.step is None else steps_beside(folder)
    shown = plots(report, answers, history)
    path = folder / PAGE
    path.write_text(render(report, answers, shown), encoding="utf-8")
    (folder / PLOTS).mkdir(exist_ok=True)
    for plot in shown:
        (folder / PLOTS / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
    return path


class Plot(NamedTuple):
    """A drawing, the name of its file, and what stands under it."""

    name: str
    title: str
    svg: str


def plots(
    report: EvalReport, answers: Sequence[Answer], history: Sequence[EvalReport]
) -> list[Plot]:
    """All plots for which there are data; curves over steps if `history` has more than one."""
    found = [shares_plot(answers), *roc_plots(report, answers)]
    stated = "Detect: stated probability of red, and share that is red"
    found += [Plot("reliability", stated, reliability_plot(report, answers)), *level_plots(report)]
    if len(history) > 1:
        found.append(Plot("steps", "Figures by step", drawing.curves(curves_of(history))))
    return found


def render(report: EvalReport, answers: Sequence[Answer], shown: Sequence[Plot]) -> str:
    """The page as a string. Everything that came from a model or a dataset is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wm_eval", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(number=number, interval=interval, unmet=unmet, decoded=decoded)
    invalid, notes = failed_controls(report)
    return environment.get_template("report.html.jinja").render(
        report=report,
        name=named(report.model),
        headlines=[name for name in HEADLINES if name in report.figures],
        failed=invalid,
        notes=notes,
        plots=shown,
        samples=[
            (answer, pieces(answer.answer), pieces(answer.text) if answer.task == "detect" else [])
            for answer in spread(answers, MOST_SAMPLES)
        ],
        total=len(answers),
    )


def spread(answers: Sequence[Answer], most: int) -> list[Answer]:
    """Failures first within what is shown, both tasks present, at most `most`."""
    half = most // 2
    picked: list[Answer] = []
    for task in ("watermark", "detect"):
        own = select(answers, task)
        wrong = [a for a in own if not a.passed and a.arm != "neutral"][: half // 2]
        chosen = {a.id for a in wrong}
        picked += (
            wrong + [a for a in select(answers, task) if a.id not in chosen][: half - len(wrong)]
        )
    return picked


def shares_plot(answers: Sequence[Answer]) -> Plot:
    """A dot for each answer. One without a counted token has no share: at 0 it would look blue."""
    own = [a for arm in ARMS for a in select(answers, "watermark", arm)]
    shares = {arm: [a.share("red") for a in own if a.arm == arm and a.counted] for arm in ARMS}
    title = "Share of red tokens, each answer"
    if left_out := sum(not a.counted for a in own):
        title += f" (but {left_out} without a counted token)"
    return Plot("shares", title, drawing.dots(shares))


def roc_plots(report: EvalReport, answers: Sequence[Answer]) -> list[Plot]:
    """Each colour's arm against the neutral arm and, where there are any, unmarked texts, with the
    area below the curve."""
    neutral = select(answers, "watermark", "neutral")
    unmarked = select(answers, "unmarked", origin="none")
    against = [("", "neutral", neutral)]
    if unmarked:
        against.append(("_unmarked", "unmarked texts", unmarked))
    return [
        Plot(
            f"roc-{colour}{ending.replace('_', '-')}",
            f"ROC: {colour} against {name}" + area(report, f"{colour}/auroc{ending}"),
            drawing.roc(
                [a.share(colour) for a in select(answers, "watermark", colour)],
                [a.share(colour) for a in plain],
            ),
        )
        for ending, name, plain in against
        for colour in COLOURS
    ]


def area(report: EvalReport, name: str) -> str:
    """The area below a curve, its interval and n, as they go on after the plot's title."""
    found = report.figures.get(f"watermark/{name}")
    if found is None or found.value is None:
        return ""
    return f", area {number(found.value)} ({interval(found)}; n {found.n:,})"


def reliability_plot(report: EvalReport, answers: Sequence[Answer]) -> str:
    """Probability of red among the two words against what the texts are, where one was stated."""
    own = [
        a
        for a in select(answers, "detect")
        if a.options and not math.isnan(a.options["red"] - a.options["blue"])
    ]
    return drawing.reliability(
        [drawing.probability(a.options["red"], a.options["blue"]) for a in own],
        [a.expected == "red" for a in own],
        {
            bin: (e.low, e.high)
            for bin in range(BINS)
            if (e := report.figures.get(f"detect/likelihood/reliability/{bin_name(bin)}"))
            if e.low is not None and e.high is not None
        },
    )


LEVELS = {
    "detect/length": "Detect: accuracy by counted tokens of the text",
    "detect/share": "Detect: accuracy by share of the text's colour",
    "detect/band": "Detect: accuracy on texts cut to a length (longer ones have fewer rows)",
}


def level_plots(report: EvalReport) -> list[Plot]:
    """Accuracy by band, one plot for each kind of band that has any text."""
    found: list[Plot] = []
    for prefix, title in LEVELS.items():
        points = {
            name.split("/")[2]: (e.value, e.low, e.high, e.n)
            for name, e in report.figures.items()
            if name.startswith(f"{prefix}/") and name.count("/") == 3 and name.endswith("/accuracy")
            if e.value is not None and e.low is not None and e.high is not None
        }
        if points:
            found.append(Plot(prefix.replace("/", "-"), title, drawing.levels(points)))
    return found


def curves_of(history: Sequence[EvalReport]) -> dict[str, list[tuple[float, float]]]:
    """Headline rates by step, where they were measured."""
    names = ("watermark/red/success", "watermark/blue/success", "detect/both_orders")
    return {
        name: [
            (float(report.step or 0), value)
            for report in history
            if name in report.figures and (value := report.figures[name].value) is not None
        ]
        for name in names
    }


def steps_beside(folder: Path) -> list[EvalReport]:
    """Reports of the same run, in folders beside this one, by step; one that cannot be read, as
    those of an older version, is left out with a line of the log."""
    found: list[EvalReport] = []
    for path in sorted(folder.resolve().parent.glob("*/eval.json")):
        try:
            found.append(read_report(path.parent))
        except WmEvalError as error:
            log.warning("not in the curves: %s", error)
    by_step = {report.step: report for report in found if report.step is not None}
    return [by_step[step] for step in sorted(by_step)]
