"""Opens and feeds the Weights & Biases run. The truth is `log.jsonl`; this never stops training."""

from __future__ import annotations

import json
import logging
import netrc
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from wm_manifest import EvalReport, RunManifest, WandbRef
from wm_train.errors import ConfigError

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

Mode = Literal["auto", "online", "offline", "disabled"]


SAMPLE_COLUMNS = ("task", "arm", "system", "prompt", "answer", "expected", "verdict", "passed")


class Tracker:
    """One W&B run. Evaluation figures have their own x axis: `eval/step`."""

    def __init__(self, run: wandb.Run | None, ref: WandbRef) -> None:
        self._run = run
        self.ref = ref

    def log(self, values: dict[str, Any]) -> None:
        """Send `values`; a failing W&B is reported and otherwise ignored."""
        if self._run is None:
            return
        try:
            self._run.log(values)
        except Exception as error:  # whatever W&B raises: log.jsonl has the values
            log.warning("W&B did not take a log line: %s", error)

    def report(self, report: EvalReport) -> None:
        """Send an evaluation: every figure with its interval's ends, samples as a table."""
        if self._run is None:
            return
        values: dict[str, Any] = {"eval/step": report.step, "eval/valid": int(report.valid)}
        for name, figure in report.figures.items():
            if figure.value is not None:
                values[f"eval/{name}"] = figure.value
            if figure.low is not None and figure.high is not None:
                values |= {f"eval/{name}.low": figure.low, f"eval/{name}.high": figure.high}
        self.log(values | {"eval/samples": _table(report)})

    def image(self, name: str, path: Path) -> None:
        """Send one picture."""
        import wandb

        if self._run is not None and path.is_file():
            self.log({name: wandb.Image(str(path))})

    def finish(self, exit_code: int) -> None:
        """Close the run; a failing W&B must not hide how training ended."""
        if self._run is None:
            return
        try:
            self._run.finish(exit_code=exit_code)
        except Exception as error:
            log.warning("W&B did not close its run: %s", error)


def _table(report: EvalReport) -> Any:
    import wandb

    columns: list[Any] = list(SAMPLE_COLUMNS)
    rows: list[Any] = [[getattr(s, column) for column in columns] for s in report.samples]
    return wandb.Table(columns=columns, data=rows)


def resolve_mode(mode: Mode) -> Literal["online", "offline", "disabled"]:
    """What `auto` means here: WANDB_MODE if it is set, else online with a key, else offline."""
    if mode != "auto":
        return mode
    asked = os.environ.get("WANDB_MODE")
    if asked in ("online", "offline", "disabled"):
        return asked
    return "online" if _has_key() else "offline"


def _has_key() -> bool:
    """Whether W&B could log in without asking: a key in the environment or in netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return bool(host and netrc.netrc().authenticators(host))
    except (OSError, netrc.NetrcParseError):
        return False


# What the manifest has beside the run's origin, and texts that a table of runs has no room for.
_LEFT_OUT = {"config", "templates", "samples", "evaluations", "controls", "files", "plots"}


def config_of(manifest: RunManifest) -> dict[str, Any]:
    """W&B's config: the fields of the run, and under `run` what its manifest says of its origin."""
    origin: dict[str, Any] = json.loads(manifest.model_dump_json(exclude=_LEFT_OUT))
    return manifest.config | {"run": origin}


def reserve(mode: Mode, project: str, entity: str | None) -> WandbRef:
    """A new id, to be in the manifest before W&B hears of it: a kill must not lose it."""
    return WandbRef(
        id=secrets.token_hex(4),
        project=project,
        entity=entity,
        mode=resolve_mode(mode),
        url=None,
        sync_command=None,
    )


def open_run(
    name: str,
    folder: Path,
    config: dict[str, Any],
    mode: Mode,
    project: str,
    entity: str | None,
    reserved: WandbRef | None = None,
) -> Tracker:
    """Open the run ourselves, with an id that the manifest keeps, so that it can be found again.

    `reserved` has the id to open, new or an earlier attempt's.
    """
    import wandb
    from wandb.errors import UsageError

    resolved = resolve_mode(mode)
    run_id = (reserved or reserve(mode, project, entity)).id
    ref = WandbRef(
        id=run_id, project=project, entity=entity, mode=resolved, url=None, sync_command=None
    )
    if resolved == "disabled":
        return Tracker(None, ref)
    # Without x_disable_meta W&B keeps the raw command line with its secrets; `config` has it
    # redacted.
    settings = wandb.Settings(
        silent=True, console="off", disable_git=True, disable_code=True, x_disable_meta=True
    )
    where = {"id": run_id, "name": name, "project": project, "entity": entity, "dir": folder}
    options: dict[str, Any] = where | {"config": config, "resume": "allow", "settings": settings}
    try:
        run = wandb.init(mode=resolved, **options)
    except UsageError as error:
        raise ConfigError(f"W&B does not take the tracking settings: {error}") from error
    except wandb.Error as error:
        log.warning("W&B cannot be reached, the run is logged offline: %s", error)
        resolved = "offline"
        ref = ref.model_copy(update={"mode": resolved})
        run = wandb.init(mode=resolved, **options)
    run.define_metric("train/*", step_metric="train/step")
    run.define_metric("eval/*", step_metric="eval/step")
    attempts = sorted(folder.glob(f"wandb/offline-run-*-{run_id}"))
    places = " ".join(str(path.relative_to(folder.parent)) for path in attempts)
    command = f"wandb sync --append {places}" if len(attempts) > 1 else f"wandb sync {places}"
    url = run.url if resolved == "online" else None
    update = {"url": url, "entity": run.entity if resolved == "online" else entity}
    if resolved == "offline":
        update["sync_command"] = command
    return Tracker(run, ref.model_copy(update=update))
