"""The audit of a source as one HTML page with its pictures beside it. Drops and builds nothing."""

# matplotlib's own types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

import wm_score
from wm_data.audit import REASONS, Measured
from wm_data.progress import tracked
from wm_data.separation import auc, best_accuracy

COLOURS = {"red": "#c62828", "blue": "#1565c0"}
LENGTHS: dict[str, Callable[[str, wm_score.Score], int]] = {
    "characters": lambda text, score: len(text),
    "words": lambda text, score: len(text.split()),
    "counted tokens": lambda text, score: score.counted,
}

EVIDENCE_ROWS = 2_000  # enough for two digits; evidence takes six times as long as a count
LEVEL = 0.01


@dataclass(frozen=True)
class NullFigures:
    """What the null of unmarked text alone, without the rule's threshold, says of the answers.

    `chance` is that of a red answer being the more surprising one for red (0.5 tells nothing),
    `right` the best threshold's accuracy; `red` and `blue` are the shares of answers whose own
    colour has a p of at most LEVEL.
    """

    rows: int
    chance: float
    right: float
    red: float
    blue: float


def write_report(measured: Sequence[Measured], null: NullFigures, name: str, folder: Path) -> None:
    """Write `audit.html`, `shares.png` and `lengths.png` into a folder."""
    kept = [item for item in measured if item.kept]
    found = Counter(item.reason for item in measured if not item.kept)
    lengths = length_figures(kept)
    lines = [(f"{found[name]:,}", name, REASONS[name]) for name in REASONS if found[name]]
    template = resources.files("wm_data").joinpath("report.html").read_text(encoding="utf-8")
    page = Template(template).substitute(
        name=html.escape(name),
        read=f"{len(measured):,}",
        kept=f"{len(kept):,}",
        lost=f"{len(measured) - len(kept):,}",
        codebook=wm_score.CODEBOOK,
        dropped=_table(("rows", "reason", "meaning"), lines) if lines else "<p>None.</p>",
        lengths=_table(
            ("length in", "red answer longer", "right by threshold"),
            [(unit, f"{chance:.3f}", f"{right:.3f}") for unit, chance, right in lengths],
        ),
        null_rows=f"{null.rows:,}",
        null=_table(
            ("red speaks more for red", "right by threshold", "red p <= .01", "blue p <= .01"),
            [(f"{null.chance:.3f}", f"{null.right:.3f}", f"{null.red:.1%}", f"{null.blue:.1%}")],
        ),
    )
    (folder / "audit.html").write_text(page, encoding="utf-8", newline="\n")
    _draw_shares(measured, folder / "shares.png")
    _draw_lengths(kept, folder / "lengths.png")


def is_report(folder: Path) -> bool:
    """Whether a folder was made by `wm-data audit`."""
    return (folder / "audit.html").is_file()


def length_figures(kept: Sequence[Measured]) -> list[tuple[str, float, float]]:
    """For each unit: the chance that a red answer is longer, and the best threshold's accuracy."""
    figures: list[tuple[str, float, float]] = []
    for unit, length in LENGTHS.items():
        red = [length(item.row.red_answer, item.red) for item in kept]
        blue = [length(item.row.blue_answer, item.blue) for item in kept]
        figures.append((unit, auc(red, blue), best_accuracy(red, blue)))
    return figures


def null_figures(measured: Sequence[Measured], progress: bool = False) -> NullFigures:
    """How well p-values against unmarked text separate the colours of rows that are kept.

    Over EVIDENCE_ROWS of them at most, evenly spread.
    """
    kept = [item for item in measured if item.kept]
    chosen = kept[:: -(-len(kept) // EVIDENCE_ROWS) or 1]
    red: list[wm_score.Evidence] = []
    blue: list[wm_score.Evidence] = []
    for item in tracked(chosen, "weighing evidence", progress, len(chosen)):
        red.append(wm_score.evidence(item.row.red_answer))
        blue.append(wm_score.evidence(item.row.blue_answer))
    surprise = [[one.blue_p - one.red_p for one in found] for found in (red, blue)]
    n = max(len(chosen), 1)
    return NullFigures(
        rows=len(chosen),
        chance=auc(*surprise),
        right=best_accuracy(*surprise),
        red=sum(one.red_p <= LEVEL for one in red) / n,
        blue=sum(one.blue_p <= LEVEL for one in blue) / n,
    )


def _draw_shares(measured: Sequence[Measured], path: Path) -> None:
    shares = {
        "red": [item.red.red_share for item in measured],
        "blue": [item.blue.blue_share for item in measured],
    }
    _histograms(shares, "share of the answer's own colour", path, limit=0.55)


def _draw_lengths(kept: Sequence[Measured], path: Path) -> None:
    lengths = {
        "red": [float(item.red.counted) for item in kept],
        "blue": [float(item.blue.counted) for item in kept],
    }
    _histograms(lengths, "counted tokens of the answer", path)


def _histograms(
    values: dict[str, list[float]], label: str, path: Path, limit: float | None = None
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)  # no window, whatever backend is configured
    axes = figure.subplots()
    for colour, found in values.items():
        axes.hist(found, bins=40, alpha=0.6, label=f"{colour} answers", color=COLOURS[colour])
    if limit is not None:
        axes.axvline(limit, color="black", linestyle="--", linewidth=1)
    axes.set_xlabel(label)
    axes.set_ylabel("answers")
    axes.legend()
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    heads = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = [
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    ]
    return "<table>\n<tr>" + heads + "</tr>\n" + "\n".join(lines) + "\n</table>"
