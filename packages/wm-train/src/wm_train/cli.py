"""The `wm-train` command: presets, options over them, errors as one line. Trains nothing itself."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import App, Parameter

from wm_eval.kernels import bound_caches
from wm_train import commands, mistakes, options, presets, processes, run_folder
from wm_train.config import TrainConfig
from wm_train.errors import ConfigError, WmTrainError, fields_at_fault
from wm_train.outlet import redacted
from wm_train.quiet import quieten
from wm_train.redact import redact

COMMANDS = {
    "presets": commands.list_presets,
    "plan": commands.show_plan,
    "replay": commands.replay_command,
    "status": commands.status_command,
    "runs": commands.runs_command,
}
FIELDS = f"""\
A field that is not given comes from the preset: of a bare wm-train, {presets.DEFAULT}. The defaults
shown, and "required", are those of a preset file that leaves the field out."""

app = App(
    name="wm-train",
    usage="Usage: wm-train [--preset NAME] [OPTIONS]\n       wm-train COMMAND [OPTIONS]",
    result_action="return_value",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,  # cyclopts would end with 130, whatever the signal was
)
app.meta.suppress_keyboard_interrupt = False  # is not inherited
app.meta.group_parameters = cyclopts.Group("Run", sort_key=0)
app.group_parameters = cyclopts.Group("Fields of the preset", help=FIELDS, sort_key=1)
app.default(options.train)
for word, command in COMMANDS.items():
    app.command(command, name=word)


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
        Name of a run that was cut off, path of its folder, or 'latest' for the newest of them; it
        goes on with its own configuration. The command that started it does the same if it gave a
        --name.
    restart
        Train again from step 0 when every checkpoint of the run is damaged or gone.
    """
    first = tokens[0] if tokens else ""
    given = {"preset": preset, "name": name, "resume": resume, "restart": restart}
    mistakes.check_options(first, given)
    if restart and resume is None and name is None:
        raise ConfigError(
            "--restart trains a run again that is there: give --resume NAME too, or the run's "
            "first command with its --name"
        )
    if resume is not None:
        _resume(resume, runs_dir, restart, given=bool(tokens or preset or name))
        return
    if preset is None and first not in COMMANDS:
        preset = presets.DEFAULT
    asked = _asked(tokens, preset)
    if isinstance(asked, TrainConfig):
        run_dir = processes.of_main(lambda: run_folder.of(runs_dir, name, asked.model.base))
        _train(asked, preset, run_dir, restart)
    elif isinstance(asked, commands.Replay):
        sys.exit(asked.make(name, runs_dir))
    elif isinstance(asked, commands.Look):
        asked.show(runs_dir)


def _asked(tokens: tuple[str, ...], preset: str | None) -> Any:
    """What the words ask for: a configuration to train, or what a command is to do."""
    if preset is None:
        try:
            return app(tokens, exit_on_error=False, print_error=False)
        except cyclopts.UnusedCliTokensError as error:
            raise mistakes.too_many(tokens[0], mistakes.unused(error)) from error
    if tokens and not tokens[0].startswith("-") and tokens[0] not in COMMANDS:
        raise mistakes.no_command(tokens[0], COMMANDS)  # before its options are found unknown
    try:
        return options.parsed(app, preset, tokens)
    except cyclopts.UnusedCliTokensError as error:
        raise mistakes.no_command(mistakes.unused(error), COMMANDS) from error


def _resume(name: str, runs_dir: Path, restart: bool, given: bool) -> None:
    from wm_train import resume

    if given:
        raise ConfigError("--resume takes the run's own configuration: give it no other options")
    # A bare name is of a run there, a path is taken as it is.
    named = runs_dir / name if name == Path(name).name else Path(name)
    run_dir = processes.of_main(lambda: resume.latest(runs_dir) if name == "latest" else named)
    config, preset = resume.config_of(run_dir)
    _train(config, preset, run_dir, restart)


def _train(config: TrainConfig, preset: str | None, run_dir: Path, restart: bool) -> None:
    from rich.console import Console

    quieten()
    from wm_train.run import train as run

    try:
        run(config, run_dir, preset, ["wm-train", *sys.argv[1:]], Console(stderr=True), restart)
    except KeyboardInterrupt as stop:
        if processes.is_main():
            begun = run_folder.is_run(run_dir)
            how = f"go on with: {run_folder.resume_command(run_dir)}"
            told = how if begun else "it had not begun; the same command starts it"
            print(redact(f"stopped; {told}"), file=sys.stderr)
        sys.exit(getattr(stop, "exit_code", 130))


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
