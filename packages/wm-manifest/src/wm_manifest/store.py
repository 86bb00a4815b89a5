"""Reads records from disk and writes them whole or not at all. Knows no record's fields."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from wm_manifest import strict_json, unwritable
from wm_manifest.record import Record
from wm_manifest.shown import first_fault, without_secrets

R = TypeVar("R", bound=Record)

# Fields that say what a file is. Records fill them in by default; a file has to name them, or any
# file with the right fields would pass for any version.
IDENTITY = ("kind", "schema_version")


class ManifestError(Exception):
    """A manifest that is missing, damaged or of another kind than expected."""


def save(record: Record, path: Path) -> None:
    """Write `record` as indented JSON: to a file beside `path`, synced, then renamed over it.

    Raises `ManifestError`, and leaves what was at `path` alone, if reading the file back would
    refuse it or give something else. A disk that cannot be written raises its `OSError`.
    """
    text = _text(record, path)
    staging = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with staging.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def load(kind: type[R], path: Path) -> R:
    """Read the record at `path`; raise `ManifestError` naming the first field at fault.

    Types are taken strictly, `"7"` is not 7 here, and so is JSON: no NaN, no key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise _error(path, "the file", f"cannot be read as a manifest ({reason})") from error
    if fault := strict_json.fault(text):
        raise _error(path, *fault)
    try:
        record = kind.model_validate_json(text, strict=True)
    except ValidationError as error:
        where, what = first_fault(error)
        expected = f"expected a {kind.__name__}, {error.error_count()} field(s) at fault"
        advice = "was it written by another version of wm?"
        # From None, here and below: the text of pydantic's error repeats the value.
        raise _error(path, where, f"{what} ({expected}); {advice}") from None
    for name in IDENTITY:
        if name in kind.model_fields and name not in record.model_fields_set:
            wanted = f"missing; a {kind.__name__} has {getattr(record, name)!r} there"
            raise _error(path, name, wanted)
    return record


def _text(record: Record, path: Path) -> str:
    """The file's content, once it is known to come back as the same record."""
    try:
        text = record.model_dump_json(indent=2, warnings=False) + "\n"
    except ValueError as error:  # pydantic_core.PydanticSerializationError
        raise _error(path, "not written", str(error)) from error
    if stray := unwritable.stray(record):
        where, what = stray
        raise _error(path, where, f"not written: {what}; is it misspelt?")
    try:
        again = type(record).model_validate_json(text, strict=True)
    except ValidationError as error:
        where, what = first_fault(error)
        raise _error(path, where, f"not written, it could not be read again: {what}") from None
    if lost := unwritable.lost(record.model_dump(warnings=False), again.model_dump()):
        where, what = lost
        raise _error(path, where, f"not written: {what}; use null, a text or a list")
    return text


def _error(path: Path, where: str, what: str) -> ManifestError:
    """One line, whatever stands in a path, a field's name or a library's message."""
    told = f"{path}: {without_secrets(where)}: {without_secrets(what)}"
    return ManifestError(" ".join(told.splitlines()))
