"""Puts a finished folder in another's place. Builds none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def swap_in(building: Path, folder: Path) -> None:
    """Make `building` the folder `folder`: at any moment that is the old one, the new one, or none.

    A file of that name goes too; a link goes without what it leads to.
    """
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    was_there = os.path.lexists(folder)
    if was_there:
        folder.rename(aside)
    try:
        building.rename(folder)
    except OSError:
        if was_there:
            aside.rename(folder)
        raise
    for old in folder.parent.glob(f".{folder.name}.*.old"):  # of a process that was killed, too
        remove(old)


def remove(path: Path) -> None:
    """Remove a folder with all that is in it, or a file, or a link alone, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
