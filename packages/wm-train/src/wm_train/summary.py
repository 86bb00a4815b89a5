"""The table that closes a run: every task and colour, before and after. Prints nothing itself."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wm_manifest import Estimate, EvalReport, RunManifest

# (task, what is counted, figure)
ROWS = [
    ("write red", "answer is red", "watermark/red/success"),
    ("write blue", "answer is blue", "watermark/blue/success"),
    ("write, not asked", "answer is red", "watermark/neutral/red_rate"),
    ("write, not asked", "answer is blue", "watermark/neutral/blue_rate"),
    ("read red texts", "answer is right", "detect/accuracy/red"),
    ("read blue texts", "answer is right", "detect/accuracy/blue"),
    ("read all texts", "each order right", "detect/accuracy"),
    ("read all texts", "both orders right", "detect/both_orders"),
    ("read all texts", "likelier is right", "detect/likelihood/accuracy"),
    ("read all texts", "says first option", "detect/position_bias"),
]
EVAL_DEFAULTS: dict[str, object] = {  # of the wm-eval command
    "limit": None,
    "seed": 0,
    "temperature": 0.7,
    "top_p": 0.8,
    "top_k": 20,
    "detect": "sampled",
    "max_new_tokens": None,
    "batch_size": 64,
}
OVER_BASE = "watermark/red/lift_over_base"  # there if the last evaluation had a base arm
HEADLINE = {
    "red": "watermark/red/success",
    "blue": "watermark/blue/success",
    "detect": "detect/accuracy",
    "both orders": "detect/both_orders",
}

TASKS = {"watermark": "write", "detect": "read"}  # and what a person calls them
NEUTRAL_LOSS = "neutral/loss"  # of a line of the log: how far from the base where nobody asks
PARTS = {  # of a line of the log: its name here, and its form
    "nll": ("nll", "{:.3f}"),
    "odds_ratio_loss": ("odds ratio loss", "{:.3f}"),
    "margin": ("margin", "{:+.3f}"),
    "preference_accuracy": ("preferred", "{:.1%}"),
}


def parts(values: Mapping[str, Any], prefix: str = "") -> str:
    """One task's parts of the loss, out of a line of the log; empty where there are none.

    >>> parts({"detect/nll": 0.25, "detect/preference_accuracy": 1.0}, "detect/")
    'nll 0.250, preferred 100.0 %'
    """
    found = [(*shown, values.get(prefix + part)) for part, shown in PARTS.items()]
    texts = [f"{name} {form.format(v)}" for name, form, v in found if v is not None]
    return ", ".join(texts).replace("%", " %")


def duration(seconds: float) -> str:
    """Seconds as a person would say them.

    >>> duration(5400)
    '1.5 h'
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def headline(report: EvalReport) -> str:
    """One line for an evaluation on the way."""
    figures = {label: report.figures.get(name) for label, name in HEADLINE.items()}
    parts = [f"{label} {value(figure)}" for label, figure in figures.items()]
    return f"step {report.step:,}: {', '.join(parts)}" + ("" if report.valid else " (NOT VALID)")


def closing(manifest: RunManifest) -> RenderableType:
    """Figures of the first and the last evaluation, and the controls that failed."""
    if not manifest.evaluations:
        return Text("no evaluation could be made: there are no figures", "bold red")
    first, last = manifest.evaluations[0], manifest.evaluations[-1]
    title = f"{manifest.name}: share of items of the held-out test split"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("task", "counted"):
        table.add_column(heading, no_wrap=True)
    table.add_column(f"step {first.step}", justify="right", no_wrap=True)
    table.add_column(f"step {last.step}", justify="right", no_wrap=True, style="bold")
    table.add_column("95 % CI", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for *texts, name in ROWS:
        if name not in last.figures:
            continue
        before, after = first.figures.get(name), last.figures[name]
        table.add_row(*texts, value(before), value(after), interval(after), str(after.n))
    return Group(table, *_controls(manifest))


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
    return f"{100 * figure.low:.1f}–{100 * figure.high:.1f}"


def _controls(manifest: RunManifest) -> list[RenderableType]:
    """The controls that failed: those that block in red, findings about the model in yellow."""
    return [
        Text(
            f"{'FAILED CONTROL, do not use these figures' if control.blocking else 'note'}; "
            # A control is named for what it is to show: alone it would read as if it were so.
            f"does not hold: {control.name}; found {control.value}, expected {control.expected}",
            "bold red" if control.blocking else "yellow",
        )
        for control in manifest.controls
        if not control.passed
    ]


def next_steps(manifest: RunManifest, run_dir: Path) -> list[str]:
    """Where everything is and what to type next, in lines that can be pasted into a shell."""
    built_here = run_dir / manifest.base.location
    base = built_here if built_here.is_dir() else manifest.base.location
    at = None if base == built_here else manifest.base.revision
    given: dict[str, object] = {"model": run_dir / "model"}
    if manifest.output == "adapter":
        given = {"model": base, "adapter": run_dir / "adapter", "revision": at}
    elif manifest.evaluations and OVER_BASE in manifest.evaluations[-1].figures:
        given |= {"base": base, "base-revision": at}
    evaluate = given | {"data": run_dir / "dataset"} | _settings(manifest)
    lines = [f"everything is in {run_dir}"]
    if manifest.wandb and manifest.wandb.url:
        lines.append(f"curves: {manifest.wandb.url}")
    lines += ["next:", f"  {shlex.join(['uv', 'run', 'wm-eval', *_options(evaluate)])}"]
    if manifest.config["model"].get("four_bit"):  # an older run has no such field
        lines.append(
            "  # over the base in full precision; the figures above are over its four bits"
        )
    if manifest.hub is None:
        publish = ["uv", "run", "wm-publish", str(run_dir), "--dry-run"]
        lines.append(f"  {shlex.join(publish)}")
    sync = sync_command(manifest, run_dir)
    return [*lines, f"  uv run {sync}"] if sync else lines


def sync_command(manifest: RunManifest, run_dir: Path) -> str | None:
    """What sends an offline run to W&B, typed from here; the manifest's starts at the runs."""
    command = manifest.wandb and manifest.wandb.sync_command
    if not command:
        return None
    inside = f"{run_dir.name}/"
    words = shlex.split(command)
    return shlex.join(str(run_dir.parent / w) if w.startswith(inside) else w for w in words)


def _options(given: dict[str, object]) -> list[str]:
    """Words of a command line; what is None is left out."""
    pairs = ((f"--{name}", str(value)) for name, value in given.items() if value is not None)
    return [word for pair in pairs for word in pair]


def _settings(manifest: RunManifest) -> dict[str, object]:
    """Options that give wm-eval the settings of the run's last evaluation."""
    evaluation = manifest.config["evaluation"]
    given = {"limit": evaluation["full_limit"]}
    # An older run has not every field.
    given |= {
        name: evaluation.get(name, EVAL_DEFAULTS[name]) for name in EVAL_DEFAULTS if name != "limit"
    }
    changed = {name: value for name, value in given.items() if value != EVAL_DEFAULTS[name]}
    if manifest.hardware.devices and manifest.config["model"]["precision"] != "float32":
        changed["dtype"] = manifest.config["model"]["precision"]
    return {name.replace("_", "-"): value for name, value in changed.items()}
