"""Reads records from disk and writes them whole or not at all. Knows no record's fields."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar, cast

from pydantic import ValidationError

from wm_manifest.record import Record

R = TypeVar("R", bound=Record)

# Fields that say what a file is. Records fill them in by default; a file has to name them, or any
# file with the right fields would pass for any version.
IDENTITY = ("kind", "schema_version")
SHOWN = 60  # characters of a wrong value in an error


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

    Types are taken strictly: `"7"` is not 7 here.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _error(path, "the file", f"cannot be read as a manifest ({error})") from error
    try:
        record = kind.model_validate_json(text, strict=True)
    except ValidationError as error:
        where, what = _first(error)
        expected = f"expected a {kind.__name__}, {error.error_count()} field(s) at fault"
        advice = "was it written by another version of wm?"
        raise _error(path, where, f"{what} ({expected}); {advice}") from error
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
    try:
        again = type(record).model_validate_json(text, strict=True)
    except ValidationError as error:
        where, what = _first(error)
        raise _error(path, where, f"not written, it could not be read again: {what}") from error
    lost = _lost(record.model_dump(warnings=False), again.model_dump())
    if lost is not None:
        where, what = lost
        raise _error(path, where, f"not written: {what}; use null, a text or a list")
    return text


def _lost(before: object, after: object, where: str = "") -> tuple[str, str] | None:
    """The first value that came back as another one, where any type may stand, and what it was."""
    kind = type(before).__name__
    if isinstance(before, dict) and isinstance(after, dict):
        values, found = cast("dict[object, object]", before), cast("dict[object, object]", after)
        if len(values) != len(found):
            return where, "two keys are the same text"
        pairs: Iterable[tuple[object, object, object]] = (
            (key, value, other)
            for (key, value), other in zip(values.items(), found.values(), strict=True)
        )
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        items = cast("list[object] | tuple[object, ...]", before)
        pairs = zip(range(len(items)), items, cast("list[object]", after), strict=True)
    elif before == after or (before != before and after != after):
        return None
    elif isinstance(before, float):
        return where, "JSON has no NaN and no infinity"
    else:
        return where, f"JSON has no {kind}"
    for key, value, other in pairs:
        lost = _lost(value, other, f"{where}.{key}" if where else str(key))
        if lost is not None:
            return lost
    return None


def _first(error: ValidationError) -> tuple[str, str]:
    """Field and fault of the first error, with the value that stands there if it is short."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    value = first["input"]
    if first["type"] in ("missing", "json_invalid") or isinstance(value, dict | list):
        return where, first["msg"]
    shown = repr(value)
    return where, f"{first['msg']}, found {shown[:SHOWN]}{'...' if len(shown) > SHOWN else ''}"


def _error(path: Path, where: str, what: str) -> ManifestError:
    """One line, whatever stands in a path, a field's name or a library's message."""
    return ManifestError(" ".join(f"{path}: {where}: {what}".splitlines()))
