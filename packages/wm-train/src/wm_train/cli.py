"""The `wm-train` command: presets, options over them, errors as one line. Trains nothing itself."""

from __future__ import annotations

import errno
import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import App, Parameter

from wm_eval.kernels import bound_caches
from wm_train import presets, processes, run_folder
from wm_train.config import TrainConfig
from wm_train.errors import ConfigError, WmTrainError, fields_at_fault
from wm_train.outlet import redacted
from wm_train.redact import redact

WIDE = 200  # columns, where no terminal says how many

app = App(
    name="wm-train",
    result_action="return_value",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,  # cyclopts would end with 130, whatever the signal was
)
app.meta.suppress_keyboard_interrupt = False  # is not inherited
app.meta.group_parameters = cyclopts.Group("Run", sort_key=0)
app.group_parameters = cyclopts.Group("Fields of the preset", sort_key=1)


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    preset: str | None = None,
    name: str | None = None,
    runs_dir: Path = Path("runs"),
    resume: str | None = None,
    restart: bool = False,
) -> None:
    """Train a language model to write and to read the red/blue watermark.

    Parameters
    ----------
    preset
        Name of a shipped preset (see `wm-train presets`) or path of a YAML file; by default
        qwen3-0.6b.
    name
        Name of the run and its folder; by default base model, two random words, date and time.
    runs_dir
        Where run folders are made.
    resume
        Name of a run that was cut off, or 'latest'; it goes on with its own configuration. The
        command that started it does the same if it gave a --name.
    restart
        Train again from step 0 when every checkpoint of the run is damaged or gone.
    """
    if restart and resume is None and name is None:
        raise ConfigError(
            "--restart trains a run again that is there: give --resume NAME too, or the run's "
            "first command with its --name"
        )
    if resume is not None:
        _resume(resume, runs_dir, restart, given=bool(tokens or preset or name))
        return
    if preset is None and not (tokens and tokens[0] in app):
        preset = presets.DEFAULT
    if preset is not None:
        fields = presets.without_replaced(presets.load(preset), tokens)
        app.config = cyclopts.config.Dict(fields, source=f"preset {preset}")
    config = app(tokens, exit_on_error=False, print_error=False)
    if isinstance(config, TrainConfig):
        run_dir = processes.of_main(lambda: run_folder.of(runs_dir, name, config.model.base))
        _train(config, preset, run_dir, restart)
    elif isinstance(config, Replay):
        sys.exit(_replay(config, name, runs_dir))
    elif isinstance(config, Look):
        _show(config, runs_dir)


@app.command(name="presets")
def list_presets() -> None:
    """List the shipped presets, a line each."""
    width = max(map(len, presets.names()))
    for preset in presets.names():
        print(f"{preset:{width}}  {presets.description(preset)}")


@app.command(name="plan")
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
        Number of devices; above 1, weights and optimizer are sharded (FSDP2).
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
    config = _with_options(preset, options)
    _quieten()
    from wm_train import plan, plan_table

    plan_table.check_device(device)  # before seconds of planning
    made = plan.make(config, rows, devices, device)
    Console().print(plan_table.table(made, config, devices, device, mfu))


def _with_options(preset: str, options: Sequence[str]) -> TrainConfig:
    """The preset with fields given on the command line in the place of its own."""
    fields = presets.without_replaced(presets.load(preset), options)
    parser = App(result_action="return_value", suppress_keyboard_interrupt=False)
    parser.default(train)
    parser.config = cyclopts.config.Dict(fields, source=f"preset {preset}")
    return parser(list(options), exit_on_error=False, print_error=False)


@dataclass(frozen=True)
class Replay:
    """What `wm-train replay` was asked to do."""

    source: str
    dry_run: bool


@app.command(name="replay")
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


Json = Annotated[bool, Parameter(negative="", group="Run")]


@app.command(name="status")
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


@app.command(name="runs")
def runs_command(*, json: Json = False) -> Look:
    """List the runs in --runs-dir, newest first, with their last evaluation's figures.

    Parameters
    ----------
    json
        Print JSON.
    """
    return Look(None, json)


def _show(asked: Look, runs_dir: Path) -> None:
    from rich.console import Console

    from wm_train import journal, status, status_table

    # Into a file or a pipe a line may be as long as it is.
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    if asked.name is None:
        found = status.runs(runs_dir)
        plain, shown = [run.as_json() for run in found], status_table.table(found, console.width)
    else:
        run = status.read(status.find(asked.name, runs_dir), runs_dir)
        plain, shown = run.as_json(), status_table.one(run)
    if asked.json:
        # An older log may hold a NaN, which is no JSON.
        print(json.dumps(journal.finite(plain), indent=2, allow_nan=False))
    else:
        console.print(shown)


def _as_in_yaml(name: str) -> str:
    return name


Fields = Annotated[TrainConfig, Parameter(name="*", name_transform=_as_in_yaml)]


@app.default
def train(*, config: Fields) -> TrainConfig:
    """Every field of a preset can be set on the command line, under the name that it has there."""
    return config


def _resume(name: str, runs_dir: Path, restart: bool, given: bool) -> None:
    from wm_train import resume

    if given:
        raise ConfigError("--resume takes the run's own configuration: give it no other options")
    named = runs_dir / Path(name).name
    run_dir = processes.of_main(lambda: resume.latest(runs_dir) if name == "latest" else named)
    config, preset = resume.config_of(run_dir)
    _train(config, preset, run_dir, restart)


def _train(config: TrainConfig, preset: str | None, run_dir: Path, restart: bool) -> None:
    from rich.console import Console

    _quieten()
    from wm_train.run import train as run

    try:
        run(config, run_dir, preset, ["wm-train", *sys.argv[1:]], Console(stderr=True), restart)
    except KeyboardInterrupt as stop:
        if processes.is_main():
            begun = run_folder.is_run(run_dir)
            how = f"uv run wm-train --resume {run_dir.name} --runs-dir {run_dir.parent}"
            told = f"go on with: {how}" if begun else "it had not begun; the same command starts it"
            print(redact(f"stopped; {told}"), file=sys.stderr)
        sys.exit(getattr(stop, "exit_code", 130))


def _replay(asked: Replay, name: str | None, runs_dir: Path) -> int:
    from rich.console import Console

    from wm_train import origin, replay

    if processes.number() > 1:
        raise ConfigError("a replay is made by one process; start it without a launcher")
    _quieten()
    console = Console(stderr=True)
    found = origin.find(asked.source)
    if asked.dry_run:
        return replay.check(found, runs_dir, console)
    if name is not None and (runs_dir / Path(name).name).exists():
        # The run that is there would go on, or stand for the replay without being one.
        raise ConfigError(f"{runs_dir / Path(name).name} exists already; take another --name")
    run_dir = run_folder.of(runs_dir, name, f"replay-{found.manifest.name}")
    return replay.replay(found, run_dir, ["wm-train", *sys.argv[1:]], console)


def _quieten() -> None:
    """Keep the libraries' progress bars and notes off the screen; warnings and errors stay."""
    import datasets
    import transformers

    # PEFT 0.21 asks a model for a property that transformers 5.23 has renamed.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()


def main() -> None:
    """Entry point: 2 and one line for bad input, 4: divergence, 75: SIGTERM, 130: Ctrl-C."""
    with redacted():
        _main()


def _main() -> None:
    bound_caches()
    if not sys.stderr.isatty():
        # tqdm reads it when it is imported, and some libraries ask nobody else: transformers
        # while it converts a GGUF. A bar in a log file is one line of hundreds of kilobytes.
        os.environ.setdefault("TQDM_DISABLE", "1")
    import wm_data
    import wm_eval
    import wm_manifest
    from wm_publish.errors import PublishError

    expected = (
        WmTrainError,
        wm_data.WmDataError,
        wm_eval.WmEvalError,
        PublishError,
        wm_manifest.ManifestError,
    )
    try:
        app.meta(sys.argv[1:], exit_on_error=False, print_error=False)
    except KeyboardInterrupt as stop:
        print("interrupted", file=sys.stderr)
        sys.exit(getattr(stop, "exit_code", 130))
    except expected as error:
        _fail(str(error), getattr(error, "exit_code", 2))
    except cyclopts.ValidationError as error:
        _fail(fields_at_fault(error))
    except cyclopts.CycloptsError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _fail(f"{error}; free some space or choose another --runs-dir")


def _fail(message: str, code: int = 2) -> None:
    print(f"error: {redact(message)}", file=sys.stderr)
    sys.exit(code)
