"""Brings a dataset folder into the run: builds it, or links one that exists. Looks at no row."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import wm_data
from wm_data.workers import cores
from wm_train.config import DataConfig
from wm_train.errors import DataError
from wm_train.redact import redact, redact_fields


def bring(config: DataConfig, folder: Path, progress: bool = True) -> None:
    """Make `folder` a verified dataset folder, from the recipe or from the path in `config`.

    An existing dataset is hard-linked where the file system can, so that a run holds its own
    dataset without holding it twice.
    """
    if config.path is None:
        _build(config, folder, progress)
    else:
        wm_data.read(config.path)  # verified before use: an altered file must not be trained on
        shutil.copytree(config.path, folder, copy_function=link_or_copy)
    fields = json.loads((folder / "manifest.json").read_text("utf-8"))
    if redact_fields(fields) != fields:
        # To redact it here would break its hash, and leave the secret in the folder it came from.
        shutil.rmtree(folder)
        raise DataError(
            f"{redact(str(config.recipe or config.path))}: the dataset's manifest holds a secret, "
            "in a source's place or in its recipe; take it out there and build the dataset anew"
        )


def _build(config: DataConfig, folder: Path, progress: bool) -> None:
    assert config.recipe is not None
    try:
        wm_data.build(
            config.recipe,
            folder,
            seed=config.seed,
            limit=config.limit,
            on_bad_row=config.on_bad_row,
            progress=progress,
            workers=cores(),
        )
    except wm_data.WmDataError as error:
        text = str(error).replace("--on-bad-row", "--data.on_bad_row")
        if " --" not in text.replace("--data.", ""):
            raise wm_data.WmDataError(text) from error
        raise wm_data.WmDataError(  # what is advised is an option of wm-data
            f"{text}; it is an option of wm-data: wm-data build --recipe {config.recipe} --out DIR "
            "OPTION, and then --data.path DIR here"
        ) from error


def link_or_copy(source: str, target: str) -> str:
    """A second name for a file where the file system can, a copy where it cannot."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
    return target
