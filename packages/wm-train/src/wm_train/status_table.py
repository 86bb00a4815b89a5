"""Runs on the screen: one of them in full, or many in a table. Reads no file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wm_train.status import RunStatus
from wm_train.summary import HEADLINE, ROWS, TASKS, duration, interval, parts, value

NARROW = 130  # columns

COLOURS = {
    "running": "cyan",
    "finished": "green",
    "interrupted": "yellow",
    "crashed": "red",
    "damaged": "red",
}


def table(runs: Sequence[RunStatus], width: int) -> RenderableType:
    """A row a run, in the order given; on a narrow screen without its date and its size."""
    narrow = width < NARROW
    out = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("run", "state"):
        out.add_column(heading, overflow="fold")
    for heading in ("step", "loss", *HEADLINE, *(() if narrow else ("started (UTC)", "size"))):
        out.add_column(heading, justify="right", no_wrap=True)
    for run in runs:
        out.add_row(
            *(Text(run.name), Text(run.state, COLOURS[run.state])),
            *(_step(run), _number(run.losses.get("loss"))),
            *(value(run.figures.get(name)) for name in HEADLINE.values()),
            *(() if narrow else (_time(run.started), size(run.bytes))),
        )
    notes = [Text(f"{run.name}: {note}", "yellow") for run in runs for note in _notes(run)]
    return Group(out, *notes)


def one(run: RunStatus) -> RenderableType:
    """Everything about one run."""
    out = Table.grid(padding=(0, 2))
    out.add_column(style="bold", no_wrap=True)
    out.add_column(overflow="fold")
    state = Text(run.state, f"bold {COLOURS[run.state]}")
    held = f" (process {run.pid})" if run.pid else ""
    out.add_row("run", Text(run.name))
    out.add_row("state", state + Text(f"{held}{f': {run.cause}' if run.cause else ''}"))
    out.add_row("step", Text(f"{_step(run)}{_logged(run)}"))
    out.add_row("speed", _speed(run))
    attempts = f", {run.attempts} attempts" if run.attempts > 1 else ""
    out.add_row("started", f"{_time(run.started)} UTC{attempts}")
    for label, text in _losses(run.losses):
        out.add_row(label, text)
    for label, text in _evaluation(run):
        out.add_row(label, text)
    out.add_row("checkpoints", _checkpoints(run))
    out.add_row("folder", Text(f"{run.folder}, {size(run.bytes)}"))
    if run.url or run.sync:
        out.add_row("W&B", Text(run.url or f"offline; to send it: uv run {run.sync}"))
    if run.resume:
        out.add_row("go on", Text(run.resume))
    for fault in run.faults:
        out.add_row(Text("fault", "bold yellow"), Text(fault))
    return out


def _losses(losses: dict[str, Any]) -> list[tuple[str, str]]:
    if not losses:
        return []
    lines = [("loss", f"{_number(losses.get('loss'))} in all")]
    for task, label in TASKS.items():
        if text := parts(losses.get(task, {})):
            lines.append((f"  {label}", text))
    return lines


def _evaluation(run: RunStatus) -> list[tuple[str, str | Text]]:
    if run.evaluated_step is None:
        return [("evaluation", "none yet")]
    head = Text(f"of step {run.evaluated_step:,}, 95 % intervals")
    if not run.valid:
        head += Text(" NOT VALID: a control failed", "bold red")
    rows = [(*texts, run.figures[name]) for *texts, name in ROWS if name in run.figures]
    lines = [
        (f"  {task}", f"{counted}: {value(figure)} ({interval(figure)}), n {figure.n:,}")
        for task, counted, figure in rows
        if figure.value is not None
    ]
    return [("evaluation", head), *lines]


def _checkpoints(run: RunStatus) -> str:
    if not run.checkpoints:
        return "none"
    return ", ".join(
        f"step {c.step:,} ({size(c.bytes)}{'' if c.sealed else ', NOT SEALED: it is not used'})"
        for c in run.checkpoints
    )


def _notes(run: RunStatus) -> list[str]:
    invalid = ["its last evaluation is not valid"] if run.valid is False else []
    return [*([run.cause] if run.cause else []), *run.faults, *invalid]


def _step(run: RunStatus) -> str:
    return f"{run.step:,}" + (f" of {run.steps:,}" if run.steps else "")


def _logged(run: RunStatus) -> str:
    return f", last log line {_time(run.logged)} UTC" if run.logged else ""


def _speed(run: RunStatus) -> str:
    """Of the last log line; evaluations are not counted."""
    rate, pace = run.losses.get("tokens", {}).get("per_second"), run.losses.get("step_seconds")
    if rate is None or pace is None:
        return "–"
    mfu = run.losses.get("mfu")
    shown = [f"{rate:,.0f} tokens/s", f"{pace:.2f} s a step"]
    shown += [f"MFU {100 * mfu:.1f} %"] if mfu is not None else []
    if run.state == "running" and run.steps:
        shown.append(f"about {duration((run.steps - run.step) * pace)} left, without evaluations")
    return ", ".join(shown)


def _number(number: Any) -> str:
    return f"{number:.3f}" if isinstance(number, int | float) else "–"


def _time(iso: str | None) -> str:
    return iso[:16].replace("T", " ") if iso else "–"


def size(number: float) -> str:
    """Bytes as a person would say them.

    >>> size(5_526_400)
    '5.5 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.{0 if unit == 'B' else 1}f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
