"""Finds a run to repeat: from its folder, its manifest file, or the hub. Trains nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pydantic

from wm_manifest import ManifestError, RunManifest, load
from wm_train.config import TrainConfig, first_fault
from wm_train.errors import ConfigError, first_line

MANIFESTS = ("manifest.json", "wm_manifest.json")  # in a run folder, in a release of it
HUB_ID = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)


@dataclass(frozen=True)
class Origin:
    """A run to repeat: its manifest, its fields as this version reads them, and where it was."""

    source: str
    manifest: RunManifest
    config: TrainConfig
    folder: Path | None  # the run's, when the manifest came from a folder


def find(source: str) -> Origin:
    """The run that `source` names: a run folder, a manifest file, or `user/name[@revision]`.

    Raises `ConfigError` when there is none, or none that can be repeated.
    """
    path = _manifest_file(source)
    try:
        manifest = load(RunManifest, path)
    except ManifestError as error:
        raise ConfigError(str(error)) from error
    if manifest.status != "finished" or not manifest.weights_sha256 or not manifest.dataset:
        raise ConfigError(
            f"{source}: the run is {manifest.status} and left no final weights to compare with; "
            "only a finished run can be replayed"
        )
    folder = path.parent if Path(source).exists() else None
    return Origin(source, manifest, _config(source, manifest), folder)


def _manifest_file(source: str) -> Path:
    path = Path(source)
    if path.is_dir():
        for name in MANIFESTS:
            if (path / name).is_file():
                return path / name
        raise ConfigError(f"{source} has no manifest.json: it is no run folder of wm-train")
    if path.is_file():
        return path
    if found := HUB_ID.fullmatch(source):
        return _download(found["repo"], found["revision"])
    raise ConfigError(
        f"{source}: no such file or folder; give a run folder, its manifest.json, "
        "or a published run as user/name or user/name@revision"
    )


def _download(repo: str, revision: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        hub = cast(Any, huggingface_hub)  # it leaves types open
        return Path(hub.hf_hub_download(repo, MANIFESTS[1], revision=revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"{repo}: no such folder here, and its {MANIFESTS[1]} cannot be had from the hub "
            f"({first_line(error)})"
        ) from error


def _config(source: str, manifest: RunManifest) -> TrainConfig:
    """The run's fields, its base pinned to the commit it had; nothing sent to W&B or the hub."""
    try:
        config = TrainConfig.model_validate(manifest.config)
    except pydantic.ValidationError as error:
        raise ConfigError(
            f"{source}: this version of wm-train cannot read the run's configuration: "
            f"{first_fault(error)}; repeat it with the version that trained it"
        ) from error
    model = config.model.model_copy(
        update={"revision": manifest.base.revision or config.model.revision}
    )
    # A check of someone's run belongs on nobody's project page, and in no repository.
    tracking = config.tracking.model_copy(update={"mode": "disabled", "entity": None})
    return config.model_copy(update={"model": model, "tracking": tracking, "publish": None})
