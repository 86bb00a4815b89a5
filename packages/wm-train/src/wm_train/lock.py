"""One process a run folder. The system frees the lock of a process that died."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from wm_train.errors import ResumeError


@contextmanager
def only_one(run_dir: Path) -> Generator[None]:
    """Hold `run_dir` for this process; `ResumeError` when another one that lives holds it."""
    handle = os.open(run_dir / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
            raise ResumeError(
                f"{run_dir} is being trained by process {owner}; stop that one first"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
