"""Makes the folder of a run, or finds that of one to go on with. Trains nothing."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path

from wm_train.errors import ConfigError
from wm_train.naming import random_name
from wm_train.redact import redact


def of(runs_dir: Path, name: str | None, base: str) -> Path:
    """The run's folder: a new one, or that of the run which `name` names."""
    if name is not None and (name != Path(name).name or name in ("", ".", "..")):
        raise ConfigError(f"--name {name!r} is a path; give a bare name and use --runs-dir")
    while True:
        run_dir = runs_dir / (name or random_name(base, datetime.now()))
        if (clean := redact(str(run_dir.absolute()))) != str(run_dir.absolute()):
            raise ConfigError(f"{clean}: a secret in the run's path would be in every log; move it")
        try:
            run_dir.mkdir(parents=True)
        except FileExistsError as error:
            if name is not None and (is_run(run_dir) or _is_unused(run_dir)):
                return run_dir
            if name is not None or runs_dir.is_file():
                raise ConfigError(
                    f"{run_dir} exists already and is no run; take another --name"
                ) from error
        except OSError as error:
            raise ConfigError(f"{run_dir} cannot be made: {error.strerror}") from error
        else:
            (run_dir / ".lock").touch()  # tells a run that was killed at once from other folders
            return run_dir


def resume_command(run_dir: Path, runs_dir: Path | None = None) -> str:
    """What goes on with the run, to be pasted into a shell where `runs_dir` is found."""
    where = runs_dir or run_dir.parent
    at = [] if where == Path("runs") else ["--runs-dir", str(where)]
    return shlex.join(["uv", "run", "wm-train", "--resume", run_dir.name, *at])


def is_run(folder: Path) -> bool:
    """Whether a run has begun in the folder."""
    return (folder / "manifest.json").is_file()


def _is_unused(folder: Path) -> bool:
    """Whether a run was killed here before it could write its manifest."""
    first = {".lock", "config.yaml", "code.patch"}
    return (folder / ".lock").is_file() and all(
        path.name in first or path.name.startswith(".manifest.json.") for path in folder.iterdir()
    )
