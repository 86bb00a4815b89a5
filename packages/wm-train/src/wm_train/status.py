"""What a run's folder says of it: state, step, losses, figures, size. Reads; changes nothing.

A folder may be half made, damaged, or written to at this moment: what cannot be read is named in
`faults`, and the rest is told all the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from wm_manifest import Estimate, ManifestError, RunManifest, load
from wm_train import run_folder, summary
from wm_train.checkpoints import SEAL, found, step_of
from wm_train.errors import ConfigError
from wm_train.journal import last
from wm_train.lock import owner
from wm_train.redact import MARK

State = Literal["running", "finished", "interrupted", "crashed", "damaged"]

MARKS = ("manifest.json", "log.jsonl", "config.yaml", ".lock")  # one of them makes a folder a run
NAMED = 5  # runs that an error lists


@dataclass(frozen=True)
class CheckpointSize:
    """One checkpoint on the disk. Its files are not read: loading is what verifies them."""

    step: int
    bytes: int
    sealed: bool


@dataclass(frozen=True)
class RunStatus:
    """A run as its folder tells it. Times are UTC, ISO 8601; figures are those of its last
    evaluation; `losses` are means since the log line before, by task."""

    name: str
    folder: str
    state: State
    pid: int | None = None  # of the process that holds the folder
    cause: str | None = None  # why it is not running any more
    started: str | None = None
    logged: str | None = None  # when the last line was written
    attempts: int = 0
    step: int = 0
    steps: int | None = None  # in all, where that is known
    losses: dict[str, Any] = field(default_factory=lambda: {})
    evaluated_step: int | None = None
    valid: bool | None = None
    figures: dict[str, Estimate] = field(default_factory=lambda: {})
    checkpoints: list[CheckpointSize] = field(default_factory=lambda: [])
    bytes: int = 0  # of all files in the folder
    url: str | None = None
    sync: str | None = None
    resume: str | None = None  # the command, where there is something to resume
    faults: list[str] = field(default_factory=lambda: [])

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        figures = {name: figure.model_dump(mode="json") for name, figure in self.figures.items()}
        return asdict(self) | {"figures": figures}


def runs(runs_dir: Path) -> list[RunStatus]:
    """Every run in `runs_dir`, newest first; folders that are no runs are left out."""
    if not runs_dir.is_dir():
        raise ConfigError(f"{runs_dir}: no such folder; start a run or give another --runs-dir")
    there = [read(folder, runs_dir) for folder in sorted(runs_dir.iterdir()) if _is_run(folder)]
    return sorted(there, key=lambda run: run.started or "", reverse=True)


def find(name: str, runs_dir: Path) -> Path:
    """The folder of the run `name`, a path, or of the newest one for `latest`."""
    if name == "latest" and not (runs_dir / name).exists():
        newest = runs(runs_dir)
        if not newest:
            raise ConfigError(f"{runs_dir} holds no run; give another --runs-dir")
        return Path(newest[0].folder)
    for folder in (runs_dir / name, Path(name)):
        if _is_run(folder):
            return folder
    there = [run.name for run in runs(runs_dir)[:NAMED]] if runs_dir.is_dir() else []
    newest = f"the newest there: {', '.join(there)}" if there else "give a name and --runs-dir"
    raise ConfigError(f"{runs_dir / name} is no run; {newest}")


def read(folder: Path, runs_dir: Path | None = None) -> RunStatus:
    """The run in `folder`. Never raises for what stands there: see `faults` and `state`."""
    faults: list[str] = []
    held, pid = owner(folder)
    log, logged = _log(folder / "log.jsonl", faults)
    manifest = _manifest(folder, faults)
    sizes = dict(_sizes(folder))
    known = _from_manifest(manifest, log, folder) if manifest is not None else {}
    train = log.get("train", {})
    return RunStatus(
        name=folder.name,
        folder=str(folder),
        pid=pid if held else None,
        logged=logged,
        losses=_losses(train),
        checkpoints=_checkpoints(folder, sizes),
        bytes=sum(sizes.values()),
        faults=faults,
        **{"started": _made(folder), "step": train.get("step", 0), **known},
        **_state(manifest, held, folder, faults, runs_dir),
    )


def _is_run(folder: Path) -> bool:
    try:
        if not folder.is_dir() or not any((folder / mark).exists() for mark in MARKS):
            return False
        kind = json.loads((folder / "manifest.json").read_text("utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return True  # half made or damaged: to be shown as such
    return kind == "run"  # and not a dataset


def _state(
    manifest: RunManifest | None, held: bool, folder: Path, faults: list[str], runs_dir: Path | None
) -> dict[str, Any]:
    """State, cause and what to type to go on. Only a process that lives holds the lock."""
    if held:
        return {"state": "running"}
    if manifest is None and faults:
        return {"state": "damaged"}
    if manifest is not None and manifest.status == "finished":
        return {"state": "finished"}
    again = {"resume": _resume_command(manifest, folder, runs_dir)}
    if manifest is None:
        return {"state": "crashed", "cause": "killed before its manifest was written", **again}
    if manifest.status == "running":
        return {"state": "crashed", "cause": "killed", **again}
    cause = manifest.attempts[-1].cause if manifest.attempts else None
    state = "interrupted" if manifest.status == "interrupted" else "crashed"
    return {"state": state, "cause": cause, **again}


def _resume_command(manifest: RunManifest | None, folder: Path, runs_dir: Path | None) -> str:
    where = folder.parent
    if runs_dir is not None and (runs_dir / folder.name).exists():
        where = runs_dir  # as it was typed
    again = run_folder.resume_command(folder, where)
    if manifest is None or MARK in json.dumps(manifest.config):  # a secret was left out
        return f"its first command, with --name {again.partition('--resume ')[2]}"
    return again


# ------------------------------------------------------------------------------------------- files
def _manifest(folder: Path, faults: list[str]) -> RunManifest | None:
    path = folder / "manifest.json"
    if not path.exists():
        return None
    try:
        return load(RunManifest, path)
    except ManifestError as error:
        faults.append(str(error).replace(str(path), "manifest.json", 1))
        return None


def _from_manifest(
    manifest: RunManifest, log: dict[str, dict[str, Any]], folder: Path
) -> dict[str, Any]:
    newest = manifest.evaluations[-1] if manifest.evaluations else None
    optim = cast("dict[str, Any]", manifest.config.get("optim") or {})
    total = manifest.steps if manifest.status == "finished" else log.get("start", {}).get("steps")
    known: dict[str, Any] = {
        "started": manifest.created_at,
        "attempts": len(manifest.attempts),
        "steps": total or optim.get("steps"),
    }
    if manifest.status == "finished":
        known["step"] = manifest.steps
    if newest is not None:
        known |= {"evaluated_step": newest.step, "valid": newest.valid, "figures": newest.figures}
    if manifest.wandb is not None:
        known |= {"url": manifest.wandb.url, "sync": summary.sync_command(manifest, folder)}
    return known


def _log(path: Path, faults: list[str]) -> tuple[dict[str, dict[str, Any]], str | None]:
    """The last line of each event, and when the file was written to."""
    try:
        lines, at = last(path), path.stat().st_mtime
    except FileNotFoundError:
        return {}, None
    except OSError as error:
        faults.append(f"log.jsonl cannot be read ({error.strerror})")
        return {}, None
    return lines, datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _losses(train: dict[str, Any]) -> dict[str, Any]:
    """The numbers of one line of the log: `loss` and the like, and a group for each task."""
    out: dict[str, Any] = {}
    for name, value in train.items():
        task, _, part = name.rpartition("/")
        if name not in ("event", "step") and (isinstance(value, int | float) or value is None):
            group: dict[str, Any] = out.setdefault(task, {}) if task else out
            group[part] = value
    return out


def _sizes(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every file and its bytes, a file with several names once; those that vanish are left out."""
    seen: set[tuple[int, int]] = set()
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root) / name
            try:
                stat = path.lstat()
            except OSError:  # a running training moves its files
                continue
            if (stat.st_dev, stat.st_ino) not in seen:
                seen.add((stat.st_dev, stat.st_ino))
                yield path, stat.st_size


def _checkpoints(folder: Path, sizes: dict[Path, int]) -> list[CheckpointSize]:
    totals: dict[Path, int] = {}
    for path, size in sizes.items():
        parts = path.relative_to(folder).parts
        if len(parts) > 2 and parts[0] == "checkpoints":
            place = folder / parts[0] / parts[1]
            totals[place] = totals.get(place, 0) + size
    return [
        CheckpointSize(step_of(place), totals.get(place, 0), (place / SEAL).is_file())
        for place in found(folder / "checkpoints")
    ]


def _made(folder: Path) -> str | None:
    try:
        at = folder.stat().st_mtime
    except OSError:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
