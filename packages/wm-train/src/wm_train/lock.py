"""One process a run folder. The system frees the lock of a process that died."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from wm_train.errors import ResumeError

LOCK = ".lock"
PATIENCE_S = 0.5  # `owner` holds a free lock for an instant


@contextmanager
def only_one(run_dir: Path) -> Generator[None]:
    """Hold `run_dir` for this process; `ResumeError` when another one that lives holds it."""
    handle = os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _taken(handle):
            raise ResumeError(
                f"{run_dir} is being trained by process {_pid(handle) or 'unknown'}; "
                "stop that one first"
            )
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    """Take the lock for this process, if nobody holds it for longer than a look at it takes."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def owner(run_dir: Path) -> tuple[bool, int | None]:
    """Whether a process that lives holds `run_dir`, and its id as it wrote it down."""
    try:
        handle = os.open(run_dir / LOCK, os.O_RDONLY)
    except OSError:
        return False, None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True, _pid(handle)
    else:
        return False, None
    finally:
        os.close(handle)  # and with it the lock


def _pid(handle: int) -> int | None:
    text = os.pread(handle, 32, 0).strip()
    return int(text) if text.isdigit() else None
