"""Puts a finished file or folder in another's place. Builds none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def building_place(place: Path) -> Path:
    """Where this process builds `place`: beside it. What killed processes left there goes first."""
    for path in place.parent.glob(f".{place.name}.*.tmp"):
        pid = path.name.split(".")[-2]
        if pid.isdigit() and not _alive(int(pid)):
            remove(path)
    return place.with_name(f".{place.name}.{os.getpid()}.tmp")


def _alive(pid: int) -> bool:
    """Whether another process has the number: our own is one that a gone process had."""
    if os.name == "nt":  # there, signal 0 would end the process
        return pid != os.getpid()
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


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
