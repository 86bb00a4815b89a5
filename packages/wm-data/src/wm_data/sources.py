"""Opens the sources of a recipe: seed rows and unmarked texts. Judges none of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Generic, TypeVar

from wm_data import files, grammar, hub
from wm_data.errors import WmDataError
from wm_data.found import DataFile, find_files
from wm_data.recipe import AnySource, Source, TextSource
from wm_data.rows import Row, Text
from wm_data.store import sha256_of
from wm_data.values import OnBadRow, rows_of, texts_of
from wm_manifest import FileRef

S = TypeVar("S", Source, TextSource)
T = TypeVar("T", Row, Text)


@dataclass(frozen=True)
class Opened(Generic[S, T]):
    """A source that was found: its rows are read while `rows` is iterated."""

    source: S
    rows: Iterator[T]
    revision: str | None
    files: list[FileRef]


def open_source(source: Source, seed: int, on_bad_row: OnBadRow = "error") -> Opened[Source, Row]:
    """Find a source; raise `WmDataError` where it is not there. Rows are read later."""
    if source.grammar:
        return Opened(source, grammar.draw(source.grammar, seed, source.id), None, [])
    found = _find(source)
    rows = rows_of(source, _some(found.records, source), on_bad_row)
    return Opened(source, rows, found.revision, found.files)


def open_texts(
    source: TextSource, seed: int, on_bad_row: OnBadRow = "error"
) -> Opened[TextSource, Text]:
    """Find a source of unmarked texts, as `open_source` does one of rows."""
    if source.grammar:
        return Opened(source, grammar.draw_unmarked(source.grammar, seed, source.id), None, [])
    found = _find(source)
    return Opened(source, texts_of(source, found.records, on_bad_row), found.revision, found.files)


@dataclass(frozen=True)
class _Found:
    records: Iterator[files.Record]
    revision: str | None
    files: list[FileRef]


def _find(source: AnySource) -> _Found:
    if source.hub:
        revision = hub.resolve(source)
        return _Found(hub.records_of(source, revision), revision, [])
    if not (source.file or source.shipped):
        raise WmDataError(
            f"source {source.id}: the recipe does not say where it is; pass "
            f"--source.{source.id} OWNER/NAME (of the hub) or --source.{source.id} PATH"
        )
    found = [shipped(source)] if source.shipped else find_files(source.location, source.role)
    records = (record for file in found for record in files.records_of(file, source))
    # Only names: a folder's place differs from machine to machine, its files do not.
    refs = [
        FileRef(path=name, bytes=path.stat().st_size, sha256=sha256_of(path))
        for path, name in found
    ]
    return _Found(records, None, refs)


def _some(records: Iterator[files.Record], source: Source) -> Iterator[files.Record]:
    """The records; `WmDataError` where there is none: the others would be the dataset, unsaid."""
    empty = True
    for record in records:
        empty = False
        yield record
    if empty:
        raise WmDataError(
            f"source {source.id}: {source.location} holds no row; fill it, or take the source out "
            "of the recipe"
        )


def shipped(source: AnySource) -> DataFile:
    """The file that comes with the package under the name that a source gives."""
    folder = Path(str(resources.files("wm_data").joinpath("seed_rows")))
    path = folder / f"{source.shipped}.jsonl.gz"
    if not path.is_file():
        names = sorted(item.name.removesuffix(".jsonl.gz") for item in folder.glob("*.jsonl.gz"))
        raise WmDataError(
            f"source {source.id}: no shipped rows {source.shipped!r}; there are: {', '.join(names)}"
        )
    return DataFile(path, path.name)
