"""Brings a dataset folder into the run: builds it, or links one that exists. Looks at no row."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import wm_data
from wm_train.config import DataConfig


def bring(config: DataConfig, folder: Path, progress: bool = True) -> None:
    """Make `folder` a verified dataset folder, from the recipe or from the path in `config`.

    An existing dataset is hard-linked where the file system can, so that a run holds its own
    dataset without holding it twice.
    """
    if config.path is None:
        assert config.recipe is not None
        wm_data.build(
            config.recipe, folder, seed=config.seed, limit=config.limit, progress=progress
        )
        return
    wm_data.read(config.path)  # verified before it is used: an altered file must not be trained on
    shutil.copytree(config.path, folder, copy_function=link_or_copy)


def link_or_copy(source: str, target: str) -> str:
    """A second name for a file where the file system can, a copy where it cannot."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
    return target
