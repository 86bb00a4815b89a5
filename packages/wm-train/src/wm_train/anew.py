"""A start under the name of a run that has made no step: as it is asked now. Trains nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from rich.console import Console

from wm_manifest import RunManifest
from wm_train import checkpoints, journal, processes, resume
from wm_train.config import TrainConfig
from wm_train.lock import LOCK
from wm_train.saying import say

BETWEEN_STEPS = "early_stop."  # nothing before the first step is made by these fields


def unless_same(
    config: TrainConfig, before: RunManifest, run_dir: Path, console: Console
) -> RunManifest | None:
    """The run to go on with; None where it begins anew, in a folder that is empty by then.

    A run that has made a step is never touched: `resume.check` says whether it can go on. One that
    has made none has nothing to lose but its evaluation before the first step, which may have taken
    an hour: it is kept where `early_stop` alone is another, as a wrong metric is found only there.
    """
    found = {
        field: values
        for field, values in resume.changes(config, before).items()
        if field not in resume.OF_MEMORY
    }
    if _has_stepped(before, run_dir):
        return before
    before = _as_many(before, console)
    if not found:
        return before
    if all(field.startswith(BETWEEN_STEPS) for field in found):
        for field, (past, new) in found.items():
            say(console, resume.told(field, past, new), "yellow")
        fields: dict[str, Any] = config.early_stop.model_dump(mode="json")
        return before.model_copy(update={"config": before.config | {"early_stop": fields}})
    field, (past, new) = next(iter(found.items()))
    more = f", and {len(found) - 1} more changed" if len(found) > 1 else ""
    say(
        console,
        f"{before.name} had made no step; it begins anew, as {field} is {new!r} now and was "
        f"{past!r}{more}",
        "yellow",
    )
    _empty(run_dir)
    return None


def _as_many(before: RunManifest, console: Console) -> RunManifest:
    """The run with as many processes as there are: no state of those of before is waited for."""
    number = processes.number()
    if number != before.processes:
        told = resume.told("the number of processes", before.processes, number)
        say(console, told, "yellow")
    return before.model_copy(update={"processes": number})


def _has_stepped(before: RunManifest, run_dir: Path) -> bool:
    """Whether anything tells of a step; a checkpoint may be newer than what the manifest has."""
    log = run_dir / "log.jsonl"
    return bool(
        before.checkpoints
        or checkpoints.found(run_dir / "checkpoints")
        or any(evaluation.step for evaluation in before.evaluations)
        or (log.is_file() and "train" in journal.last(log))
    )


def _empty(run_dir: Path) -> None:
    """Remove all but the lock, which is held; the manifest last, so that a kill leaves a run."""
    for path in sorted(run_dir.iterdir(), key=lambda path: path.name == "manifest.json"):
        if path.name == LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
