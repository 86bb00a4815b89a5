"""Commands of `wm-train` beside training: what they ask for, and how they answer."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, UnusedCliTokensError

from wm_train import mistakes, presets, processes, run_folder
from wm_train.errors import ConfigError
from wm_train.options import over_preset
from wm_train.quiet import quieten

WIDE = 200  # columns, where no terminal says how many
Json = Annotated[bool, Parameter(negative="", group="Run")]


def list_presets() -> None:
    """List the shipped presets, a line each."""
    width = max(map(len, presets.names()))
    for preset in presets.names():
        print(f"{preset:{width}}  {presets.description(preset)}")


def show_plan(
    *options: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    preset: str = presets.DEFAULT,
    rows: int = 10_000,
    device: str | None = None,
    devices: int = 1,
    mfu: float | None = None,
) -> None:
    """Show what a run would cost: parameters, tokens, steps, memory, time. Needs no GPU.

    Nothing is downloaded and no weight is loaded. Any field of the preset can be given too.

    Parameters
    ----------
    preset
        Name of a shipped preset or path of a YAML file.
    rows
        Rows to plan for where the dataset is not on this machine.
    device
        rtx-4090, a100-80gb, h100 or h200: says how long it takes and whether it fits.
    devices
        Number of devices. With model.sharded each keeps a part of weights, gradients and
        optimizer; without it all of them.
    mfu
        Share of the device's peak that training reaches. Default: 0.05 with a LoRA, 0.1 with all
        weights; measured on an H200 were 0.05 and 0.13.
    """
    from rich.console import Console

    if mfu is not None and not 0 < mfu <= 1:
        raise ConfigError(f"--mfu {mfu}: expected a share, above 0 and at most 1, such as 0.1")
    for option, number in (("devices", devices), ("rows", rows)):
        if number < 1:
            raise ConfigError(f"--{option} {number}: expected a whole number of at least 1")
    try:
        config = over_preset(preset, options)
    except UnusedCliTokensError as error:
        raise mistakes.no_word("plan", mistakes.unused(error)) from error
    quieten()
    from wm_train import plan, plan_table

    plan_table.check_device(device)  # before seconds of planning
    made = plan.make(config, rows, devices, device)
    Console().print(plan_table.table(made, config, devices, device, mfu))


@dataclass(frozen=True)
class Replay:
    """What `wm-train replay` was asked to do."""

    source: str
    dry_run: bool

    def make(self, name: str | None, runs_dir: Path) -> int:
        """The exit code of the command."""
        from rich.console import Console

        from wm_train import origin, replay

        if processes.number() > 1:
            raise ConfigError("a replay is made by one process; start it without a launcher")
        quieten()
        console = Console(stderr=True)
        found = origin.find(self.source)
        if self.dry_run:
            return replay.check(found, runs_dir, console)
        if name is not None and (runs_dir / Path(name).name).exists():
            # The run that is there would go on, or stand for the replay without being one.
            raise ConfigError(f"{runs_dir / Path(name).name} exists already; take another --name")
        run_dir = run_folder.of(runs_dir, name, f"replay-{found.manifest.name}")
        return replay.replay(found, run_dir, ["wm-train", *sys.argv[1:]], console)


def replay_command(
    source: str, /, *, dry_run: Annotated[bool, Parameter(negative="", group="Run")] = False
) -> Replay:
    """Repeat a finished run from its manifest and say whether the same came out.

    Exit code 0: the same weights, or on another stack figures that agree; 1: neither; 2: the run
    cannot be repeated. --name and --runs-dir work as for a run.

    Parameters
    ----------
    source
        A run folder, a manifest file, or a published run: user/name or user/name@revision.
    dry_run
        Bring the dataset and name what differs; train nothing.
    """
    return Replay(source, dry_run)


@dataclass(frozen=True)
class Look:
    """What `wm-train status` or `wm-train runs` was asked to show; no name: every run."""

    name: str | None
    json: bool

    def show(self, runs_dir: Path) -> None:
        """Print it as a table, or as JSON if that was asked for."""
        from rich.console import Console

        from wm_train import journal, status, status_table

        # Into a file or a pipe a line may be as long as it is.
        console = Console(width=None if sys.stdout.isatty() else WIDE)
        if self.name is None:
            found = status.runs(runs_dir)
            plain = [run.as_json() for run in found]
            shown = status_table.table(found, console.width)
        else:
            run = status.read(status.find(self.name, runs_dir), runs_dir)
            plain = run.as_json()
            shown = status_table.one(run)
        if self.json:
            # An older log may hold a NaN, which is no JSON.
            print(json.dumps(journal.finite(plain), indent=2, allow_nan=False))
        else:
            console.print(shown)


def status_command(run: str = "latest", /, *, json: Json = False) -> Look:
    """Show one run: state, step, losses, last evaluation, checkpoints, how to go on.

    Only reads, also while the run is in progress.

    Parameters
    ----------
    run
        Name of a run in --runs-dir, path of its folder, or latest.
    json
        Print JSON.
    """
    return Look(run, json)


def runs_command(*, json: Json = False) -> Look:
    """List the runs in --runs-dir, newest first, with their last evaluation's figures.

    Parameters
    ----------
    json
        Print JSON.
    """
    return Look(None, json)
