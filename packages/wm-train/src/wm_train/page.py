"""The HTML page beside a run's plots: the curves, and every evaluation's figures. Draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from string import Template

from wm_manifest import Evaluation
from wm_train.summary import ROWS, interval, value

PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font-family: sans-serif; max-width: 90rem; margin: 1rem auto; padding: 0 1rem; color: #222; }
svg { width: 100%; height: auto; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; } small { color: #666; }
</style></head><body>
<h1>$title</h1>
$curves
<h2>Evaluations</h2>
<p>Per cent of held-out items, with 95 % intervals clustered by prompt, and the number of items.</p>
<div class="wide"><table><thead><tr><th>task</th><th>counted</th>$steps</tr></thead>
<tbody>
$rows
</tbody></table></div>
</body></html>
""")


def render(title: str, svgs: Sequence[str], evaluations: Sequence[Evaluation]) -> str:
    """One page that needs no other file; a figure is a row, an evaluation a column."""
    rows = [
        f"<tr><td>{task}</td><td>{counted}</td>"
        + "".join(f"<td>{_cell(evaluation, name)}</td>" for evaluation in evaluations)
        + "</tr>"
        for task, counted, name in ROWS
        if any(name in evaluation.figures for evaluation in evaluations)
    ]
    return PAGE.substitute(
        title=escape(title),
        # An <svg> may stand in HTML; the XML prologue before it may not.
        curves="\n".join(f"<div>{svg[svg.index('<svg') :]}</div>" for svg in svgs),
        steps="".join(f"<th>{_heading(evaluation)}</th>" for evaluation in evaluations),
        rows="\n".join(rows),
    )


def _heading(evaluation: Evaluation) -> str:
    split = "" if evaluation.split == "test" else f"<br>{escape(evaluation.split)}"
    return f"step {evaluation.step:,}{split}" + ("" if evaluation.valid else "<br>not valid")


def _cell(evaluation: Evaluation, name: str) -> str:
    figure = evaluation.figures.get(name)
    if figure is None or figure.value is None:
        return "–"
    return f"{value(figure)}<br><small>{interval(figure)}, n {figure.n:,}</small>"
