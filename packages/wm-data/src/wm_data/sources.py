"""Opens the seed rows of a recipe's sources. Judges none of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from wm_data import files, grammar, hub
from wm_data.errors import WmDataError
from wm_data.recipe import Source
from wm_data.rows import Row
from wm_data.store import sha256_of
from wm_data.values import OnBadRow, rows_of
from wm_manifest import FileRef


@dataclass(frozen=True)
class Opened:
    """A source that was found: its rows are read while `rows` is iterated."""

    source: Source
    rows: Iterator[Row]
    revision: str | None
    files: list[FileRef]


def open_source(source: Source, seed: int, on_bad_row: OnBadRow = "error") -> Opened:
    """Find a source; raise `WmDataError` where it is not there. Rows are read later."""
    if source.grammar:
        return Opened(source, grammar.draw(source.grammar, seed, source.id), None, [])
    if source.hub:
        revision = hub.resolve(source)
        records = hub.records_of(source, revision)
        return Opened(source, rows_of(source, records, on_bad_row), revision, [])
    if not (source.file or source.shipped):
        raise WmDataError(
            f"source {source.id}: the recipe does not say where it is; pass "
            f"--source.{source.id} OWNER/NAME (of the hub) or --source.{source.id} PATH"
        )
    paths = [shipped(source)] if source.shipped else files.find_files(source.location)
    records = (record for path in paths for record in files.records_of(path, source))
    # Only names: a folder's place differs from machine to machine, its files do not.
    refs = [
        FileRef(path=path.name, bytes=path.stat().st_size, sha256=sha256_of(path)) for path in paths
    ]
    return Opened(source, rows_of(source, records, on_bad_row), None, refs)


def shipped(source: Source) -> Path:
    """The file of seed rows that comes with the package under the name that a source gives."""
    folder = Path(str(resources.files("wm_data").joinpath("seed_rows")))
    path = folder / f"{source.shipped}.jsonl.gz"
    if not path.is_file():
        names = sorted(item.name.removesuffix(".jsonl.gz") for item in folder.glob("*.jsonl.gz"))
        raise WmDataError(
            f"source {source.id}: no shipped rows {source.shipped!r}; there are: {', '.join(names)}"
        )
    return path
