"""Reads records from local parquet, JSON lines and CSV files. Judges no value."""

# pyarrow has no types: what comes out of it is unknown to pyright.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import csv
import glob
import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from wm_data.errors import WmDataError
from wm_data.recipe import AnySource
from wm_data.values import check_columns

Record = tuple[str, dict[str, object]]  # where it stands, and what
READ_BYTES, READ_ROWS = 1 << 20, 256  # of a parquet file at a time: one of each column, and all


def find_files(location: str) -> list[Path]:
    """The data files of a path, a folder or a pattern, sorted by name."""
    path = Path(location)
    if path.is_dir():
        paths = [item for item in path.rglob("*") if suffix(item) in READERS and item.is_file()]
    elif path.is_file():
        paths = [path]
    else:
        paths = [Path(name) for name in glob.glob(location, recursive=True)]  # noqa: PTH207 (absolute too)
    if not paths:
        raise WmDataError(
            f"{location}: no data file there; expected a file, a folder or a pattern of "
            f"{', '.join(READERS)}"
        )
    for path in paths:
        if suffix(path) not in READERS:
            raise WmDataError(
                f"{path}: cannot be read as {suffix(path) or 'a file without a suffix'}; "
                f"expected one of {', '.join(READERS)}"
            )
    return sorted(paths)


def suffix(path: Path) -> str:
    """How the file's name ends, with what it is packed in.

    >>> suffix(Path("a.b.jsonl")), suffix(Path("rows.jsonl.gz"))
    ('.jsonl', '.jsonl.gz')
    """
    return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix


def records_of(path: Path, source: AnySource) -> Iterator[Record]:
    """Yield the records of a file with their places; `WmDataError` where it cannot be read."""
    try:
        yield from READERS[suffix(path)](path, source)
    except (
        OSError,
        EOFError,
        zlib.error,
        UnicodeDecodeError,
        pa.ArrowException,
        csv.Error,
    ) as error:
        reason = " ".join(str(error).split())
        raise WmDataError(
            f"{path}: cannot be read ({reason}); fetch or write the file again"
        ) from error


def _parquet(path: Path, source: AnySource) -> Iterator[Record]:
    # A file may be one row group: read through a buffer, it does not stand in memory as a whole.
    with pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
        check_columns(source, file.schema_arrow.names, str(path))
        wanted = list(source.columns.given().values())
        number = 0
        for batch in file.iter_batches(batch_size=READ_ROWS, columns=wanted):
            for record in batch.to_pylist():
                number += 1
                yield f"row {number:,} of {path}", record


def _json_lines(path: Path, source: AnySource) -> Iterator[Record]:
    unpack = gzip.open if path.suffix == ".gz" else open
    with unpack(path, "rt", encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            place = f"row {number:,} of {path}"
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise WmDataError(
                    f"{place}: not JSON ({error}); every line must hold one object"
                ) from None
            if not isinstance(record, dict):
                raise WmDataError(f"{place}: is {type(record).__name__}, expected an object")
            if number == 1:
                check_columns(source, record, str(path))
            yield place, record


def _csv(path: Path, source: AnySource) -> Iterator[Record]:
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        check_columns(source, reader.fieldnames or (), str(path))
        for number, record in enumerate(reader, 1):
            yield f"row {number:,} of {path}", dict(record)


READERS = {".parquet": _parquet, ".jsonl": _json_lines, ".jsonl.gz": _json_lines, ".csv": _csv}
