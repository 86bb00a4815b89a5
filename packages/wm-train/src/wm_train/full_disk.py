"""What a full disk looks like, and what a run says of it. Frees nothing."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from wm_train.errors import WmTrainError
from wm_train.run_folder import resume_command

FULL = (errno.ENOSPC, errno.EDQUOT)
NEARLY_FULL = 2**20  # bytes


class DiskFullError(WmTrainError):
    """Something other than a checkpoint could not be written; what is on the disk is whole."""


def is_full(error: BaseException, root: Path) -> bool:
    """Whether `error` is the disk's: safetensors says so in its message, torch only that it failed.

    The half of a checkpoint that filled the disk is still there.
    """
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    if isinstance(error, RuntimeError) and shutil.disk_usage(root).free < NEARLY_FULL:
        return True
    return "No space left" in str(error) or "os error 28" in str(error)


@contextmanager
def told(run_dir: Path) -> Generator[None]:
    """Surrounds a run: a full disk ends it with `DiskFullError`, which says how to go on."""
    try:
        yield
    except WmTrainError:
        raise  # it says so already
    except Exception as error:
        if not is_full(error, run_dir):
            raise
        place = getattr(error, "filename", None) or run_dir
        raise DiskFullError(
            f"the disk is full: {place} could not be written, what was saved before is whole; free "
            f"some space, then go on with: {resume_command(run_dir)}"
        ) from error


@contextmanager
def tolerated(failing: bool) -> Generator[None]:
    """With `failing`, a full disk is passed over: something worse has ended the run and is told."""
    try:
        yield
    except OSError as error:
        if not failing or error.errno not in FULL:
            raise
