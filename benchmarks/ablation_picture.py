"""Draws an ablation: how the watermark came in each cell, and what was written in the end.

    python benchmarks/ablation_picture.py OUT PICTURE.svg [--cells FILE]

Reads what `ablation.py` left in OUT. Left, the share of written pairs whose right answer is the
likelier one, over the steps: one half while nothing is learnt. Right, success of each run in both
colours with its 95 % interval, and the neutral answers that have the colour by themselves.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ablation import HERE, Job, evaluation, manifest, read
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

LOGGED = "watermark/preference_accuracy"
SMOOTH = 3  # log lines that are averaged
TINTS = ["#7a1fa2", "#2f7d4f", "#b07d1a", "#1f4fbf", "#c8102e", "#14532d", "#666666", "#333333"]
COLOURS = {"red": "#c8102e", "blue": "#1f4fbf"}


def main() -> None:
    parser = argparse.ArgumentParser(description="a picture of an ablation")
    parser.add_argument("out", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--cells", type=Path, default=HERE / "ablation.yaml")
    options = parser.parse_args()
    jobs = [job for job in read(options.cells, None, []) if manifest(options.out, job)]
    figure = Figure(figsize=(11, 1.6 + 0.42 * len(jobs)))
    figure.subplots_adjust(left=0.06, right=0.98, top=0.88, bottom=0.16, wspace=0.32)
    left, right = figure.subplots(1, 2)
    cells = list(dict.fromkeys(job.cell for job in jobs))
    for job in jobs:
        course(left, job, options.out, TINTS[cells.index(job.cell) % len(TINTS)])
    ends(right, jobs, options.out)
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    unstamped = {"Date": None, "Creator": None}
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "wm"}):
        figure.savefig(options.picture, format="svg", metadata=unstamped)


def course(axes: Axes, job: Job, out: Path, colour: str) -> None:
    lines = (out / job.name / "log.jsonl").read_text("utf-8").splitlines()
    logged = [line for line in map(json.loads, lines) if LOGGED in line]
    means = [
        (logged[at]["step"], sum(line[LOGGED] for line in part) / len(part))
        for at in range(len(logged))
        for part in [logged[max(0, at - SMOOTH + 1) : at + 1]]
    ]
    style = "-" if job.seed == 0 else "--"
    axes.plot(*zip(*means, strict=True), style, color=colour, label=f"{job.cell}, seed {job.seed}")
    axes.set_title("Written pairs whose right answer is the likelier", fontsize=10)
    axes.set_xlabel("optimizer steps")
    axes.set_ylim(-0.02, 1.02)
    axes.axhline(0.5, color="#999999", linewidth=0.8)
    axes.legend(fontsize=8, frameon=False, loc="lower left", ncols=2)


def ends(axes: Axes, jobs: list[Job], out: Path) -> None:
    named: list[str] = []
    for job in jobs:
        last = evaluation(out, job, manifest(out, job))
        if last is None:
            continue
        for name, colour in COLOURS.items():
            place = len(named) + (0.14 if name == "red" else -0.14)
            found = last["figures"][f"watermark/{name}/success"]
            axes.plot(found["value"], place, "o", color=colour, markersize=5)
            axes.plot([found["low"], found["high"]], [place, place], color=colour, linewidth=1.2)
            unasked = last["figures"][f"watermark/neutral/{name}_rate"]["value"]
            axes.plot(unasked, place, "|", color=colour, markersize=9)
        named.append(f"{job.cell}, {job.seed}")
    axes.set_yticks(range(len(named)), named, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(-0.02, 1.02)
    axes.set_title("Success in red and blue; bars: not asked for it", fontsize=10)


if __name__ == "__main__":
    main()
