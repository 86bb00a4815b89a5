"""A file appears whole or not at all, whatever ends its writer. Knows no format."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(path: Path) -> Generator[Path]:
    """A path beside `path` to write to; renamed over it when the block ends well, else removed.

    Neither a full disk nor a kill takes what was at `path` before.
    """
    staging = path.with_name(f".{path.name}.tmp")
    try:
        yield staging
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)
