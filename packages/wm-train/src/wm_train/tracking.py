"""Opens the Weights & Biases run, or one offline where it cannot. Sends nothing: see `tracker`."""

from __future__ import annotations

import json
import logging
import netrc
import os
import secrets
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from wm_manifest import RunManifest, WandbRef
from wm_train.errors import ConfigError
from wm_train.tracker import FINISH_S, Tracker, end_service

log = logging.getLogger(__name__)

Mode = Literal["auto", "online", "offline", "disabled"]
# What W&B takes for WANDB_MODE, and what it means there.
MODES: dict[str, Literal["online", "offline", "disabled"]] = {
    **{"online": "online", "run": "online"},
    **{"offline": "offline", "dryrun": "offline", "disabled": "disabled"},
}
YES = ("1", "true", "yes", "on")

INIT_S = 60.0  # for W&B to answer when a run is opened; then it is logged offline

# Copies of tables and pictures that wait to be sent; cache and logs. By default all in the home,
# where an offline run's samples would be lost to whoever takes its folder elsewhere to sync it.
PLACES = {"WANDB_DATA_DIR": "wandb/data", "WANDB_CACHE_DIR": "wandb/cache"}


@contextmanager
def kept_inside(run_dir: Path) -> Generator[None]:
    """Have W&B keep its files in the run's folder, where the user has not said otherwise."""
    ours = {name: str(run_dir.absolute() / place) for name, place in PLACES.items()}
    ours = {name: place for name, place in ours.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def resolve_mode(mode: Mode) -> Literal["online", "offline", "disabled"]:
    """What `auto` means here: WANDB_MODE if it is set, else online with a key, else offline.

    Raises `ConfigError` for a WANDB_MODE that is none: it may have been meant to send nothing.
    """
    if mode != "auto":
        return mode
    asked = os.environ.get("WANDB_MODE", "").strip().lower()
    if asked and asked not in MODES:
        raise ConfigError(f"WANDB_MODE is {asked!r}; expected one of {', '.join(MODES)}")
    if os.environ.get("WANDB_DISABLED", "").strip().lower() in YES:
        return "disabled"
    if asked:
        return MODES[asked]
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
    attempt: int = 1,
) -> Tracker:
    """Open the run ourselves, with an id that the manifest keeps, so that it can be found again.

    `reserved` has the id to open, new or an earlier attempt's. Where W&B does not answer within
    `INIT_S`, the run is logged offline, with a warning. Raises `ConfigError` for settings that W&B
    does not take.
    """
    resolved = resolve_mode(mode)
    run_id = (reserved or reserve(mode, project, entity)).id
    ref = WandbRef(
        id=run_id, project=project, entity=entity, mode=resolved, url=None, sync_command=None
    )
    if resolved == "disabled":
        return Tracker(None, ref)
    # W&B's reports of its own errors: nobody asked for them, and a dead server delays the end.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb
    from wandb.errors import UsageError

    # Without x_disable_meta W&B keeps the raw command line with its secrets; `config` has it
    # redacted.
    settings = wandb.Settings(
        silent=True, console="off", disable_git=True, disable_code=True, x_disable_meta=True
    )
    # Left alone, W&B waits for its server for ever when a run ends.
    settings.init_timeout, settings.finish_timeout = INIT_S, FINISH_S
    settings.finish_timeout_raises = True
    where = {"id": run_id, "name": name, "project": project, "entity": entity, "dir": folder}
    options: dict[str, Any] = where | {"config": config, "resume": "allow", "settings": settings}
    try:
        run = wandb.init(mode=resolved, allow_val_change=True, **options)
    except UsageError as error:
        raise ConfigError(f"W&B does not take the tracking settings: {error}") from error
    except wandb.Error as error:
        log.warning("W&B cannot be reached, the run is logged offline: %s", error)
        end_service()  # it still waits for the server under this run's id
        resolved = "offline"
        ref = ref.model_copy(update={"mode": resolved})
        run = wandb.init(mode=resolved, allow_val_change=True, **options)
    run.define_metric("train/*", step_metric="train/step")
    run.define_metric("eval/*", step_metric="eval/step")
    online = resolved == "online"
    update = {
        "url": run.url if online else None,
        "entity": run.entity if online else entity,
        "sync_command": sync_command(folder, run_id, online=False),  # of earlier attempts too
    }
    return Tracker(
        run, ref.model_copy(update=update), attempt, lambda: sync_command(folder, run_id, online)
    )


def sync_command(folder: Path, run_id: str, online: bool) -> str | None:
    """What sends the attempts that W&B has not got; None for none. Starts at the runs' folder.

    W&B marks those that were sent by `wandb sync`. With `online`, those that were online too.
    """
    kinds = ("run", "offline-run") if online else ("offline-run",)
    # Two attempts of one second: W&B adds -1 to the second one's name.
    names = [f"{kind}-*-{run_id}{more}" for kind in kinds for more in ("", "-*")]
    made = [path for name in names for path in folder.glob(f"wandb/{name}")]
    unsent = [p for p in made if not list(p.glob("*.synced"))]
    unsent.sort(key=lambda path: path.name.removeprefix("offline-"))
    places = [str(path.relative_to(folder.parent)) for path in unsent]
    if not places:
        return None
    append = ["--append"] if len(places) > 1 or online else []
    return shlex.join(["wandb", "sync", *append, *places])
