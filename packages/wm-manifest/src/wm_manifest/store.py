"""Reads records from disk and writes them whole or not at all. Knows no record's fields."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from wm_manifest.record import Record

R = TypeVar("R", bound=Record)


class ManifestError(Exception):
    """A manifest that is missing, damaged or of another kind than expected."""


def save(record: Record, path: Path) -> None:
    """Write `record` as indented JSON: to a file beside `path`, synced, then renamed over it."""
    staging = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with staging.open("w", encoding="utf-8", newline="\n") as file:
            file.write(record.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def load(kind: type[R], path: Path) -> R:
    """Read the record at `path`; raise `ManifestError` naming the first field at fault."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read as a manifest ({error})") from error
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ManifestError(
            f"{path}: {where}: {first['msg']} (expected a {kind.__name__}, "
            f"{error.error_count()} field(s) at fault); was it written by another version of wm?"
        ) from error
