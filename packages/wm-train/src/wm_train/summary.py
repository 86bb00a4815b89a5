"""The table that closes a run: every task and colour, before and after. Prints nothing itself."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wm_manifest import Estimate, Evaluation, RunManifest

ROWS = [
    ("watermark", "red", "answer is red when asked", "watermark/red/success"),
    ("watermark", "blue", "answer is blue when asked", "watermark/blue/success"),
    ("watermark", "neutral", "answer is red, not asked", "watermark/neutral/red_rate"),
    ("watermark", "neutral", "answer is blue, not asked", "watermark/neutral/blue_rate"),
    ("detect", "both", "right, each order", "detect/accuracy"),
    ("detect", "red", "right on red texts", "detect/accuracy/red"),
    ("detect", "blue", "right on blue texts", "detect/accuracy/blue"),
    ("detect", "both", "right in both orders", "detect/both_orders"),
    ("detect", "both", "names the first colour offered", "detect/position_bias"),
]


def closing(manifest: RunManifest, run_dir: Path) -> RenderableType:
    """Figures of the first and the last evaluation, and what to type next."""
    first, last = manifest.evaluations[0], manifest.evaluations[-1]
    table = Table(title=f"{manifest.name}: held-out test split", title_justify="left")
    for heading in ("task", "colour", "share of items"):
        table.add_column(heading)
    table.add_column(f"step {first.step}", justify="right")
    table.add_column(f"step {last.step}", justify="right", style="bold")
    table.add_column("95 % interval", justify="right")
    table.add_column("n", justify="right")
    for task, colour, label, name in ROWS:
        if name not in last.figures:
            continue
        before, after = first.figures.get(name), last.figures[name]
        table.add_row(
            task, colour, label, value(before), value(after), interval(after), str(after.n)
        )
    return Group(table, *_controls(last), _next(manifest, run_dir))


def value(figure: Estimate | None) -> str:
    """A share in per cent, or a dash where nothing was measured.

    >>> value(Estimate(value=0.956, n=100))
    '95.6 %'
    """
    return "–" if figure is None or figure.value is None else f"{100 * figure.value:.1f} %"


def interval(figure: Estimate) -> str:
    """Both ends of the interval in per cent."""
    if figure.low is None or figure.high is None:
        return "–"
    return f"{100 * figure.low:.1f} – {100 * figure.high:.1f}"


def _controls(last: Evaluation) -> list[RenderableType]:
    if last.valid:
        return []
    return [
        Text("A control of the last evaluation FAILED: its figures must not be used.", "bold red")
    ]


def _next(manifest: RunManifest, run_dir: Path) -> RenderableType:
    if manifest.output == "model":
        model = f"--model {run_dir / 'model'}"
    else:
        built_here = run_dir / manifest.base.location
        base = built_here if built_here.is_dir() else manifest.base.location
        model = f"--model {base} --adapter {run_dir / 'adapter'}"
    lines = [f"everything is in {run_dir}"]
    if manifest.wandb and manifest.wandb.url:
        lines.append(f"curves: {manifest.wandb.url}")
    lines += [
        "next:",
        f"  uv run wm-eval {model} --data {run_dir / 'dataset'}",
        f"  uv run wm-publish {run_dir} --dry-run",
    ]
    if manifest.wandb and manifest.wandb.sync_command:
        lines.append(f"  uv run {manifest.wandb.sync_command}")
    return Text("\n".join(lines))
