"""Reads records from local parquet, JSON lines and CSV files. Judges no value."""

# pyarrow has no types: what comes out of it is unknown to pyright.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from wm_data.errors import WmDataError
from wm_data.found import DataFile, suffix
from wm_data.recipe import AnySource
from wm_data.values import Broken, Where, check_columns

T = TypeVar("T")
Record = tuple[Where, dict[str, object] | Broken]
READ_BYTES, READ_ROWS = 1 << 20, 256  # of a parquet file at a time: one of each column, and all
HEAD_ROWS = 100  # of a JSON lines file, in which a column may first appear
ONE_A_LINE = "every line must hold one object, and no list may stand around them"
CSV_FIELD = 2**31 - 1  # characters; as much as a C long holds everywhere


def records_of(file: DataFile, source: AnySource) -> Iterator[Record]:
    """Yield the records of a file with their places; `WmDataError` where it cannot be read."""
    try:
        yield from READERS[suffix(file.path)](file, source)
    except (
        OSError,
        EOFError,
        zlib.error,
        UnicodeDecodeError,
        pa.ArrowException,
    ) as error:
        if isinstance(error, UnicodeDecodeError) and file.path.suffix != ".parquet":
            raise _no_utf8(file, error) from None
        reason = " ".join(str(error).split())
        raise WmDataError(
            f"{file.path}: cannot be read ({reason}); fetch or write the file again"
        ) from error


def _parquet(file: DataFile, source: AnySource) -> Iterator[Record]:
    # A file may be one row group: read through a buffer, it does not stand in memory as a whole.
    with pq.ParquetFile(file.path, buffer_size=READ_BYTES, pre_buffer=False) as opened:
        check_columns(source, opened.schema_arrow.names, str(file.path))
        wanted = list(source.columns.given().values())
        batches = opened.iter_batches(batch_size=READ_ROWS, columns=wanted)
        yield from _numbered(file, (record for batch in batches for record in batch.to_pylist()))


def _json_lines(file: DataFile, source: AnySource) -> Iterator[Record]:
    with _opener(file)(file.path, "rt", encoding="utf-8-sig") as lines:
        found = _numbered(file, lines)
        records = ((where, _object(line, where)) for where, line in found if line.strip())
        # A field may be missing in one row: that is the row's fault, not the file's.
        head = list(islice(records, HEAD_ROWS))
        if head:
            names = dict.fromkeys(name for _, record in head for name in record)
            check_columns(source, names, str(file.path))
        yield from chain(head, records)


def _object(line: str, where: Where) -> dict[str, object]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise WmDataError(f"{where}: not JSON ({error}); {ONE_A_LINE}") from None
    except (ValueError, RecursionError):
        raise WmDataError(
            f"{where}: holds a number of too many digits or is nested too deep; mend the row"
        ) from None
    if not isinstance(record, dict):
        raise WmDataError(f"{where}: is {type(record).__name__}, not an object; {ONE_A_LINE}")
    return record


def _numbered(file: DataFile, items: Iterable[T]) -> Iterator[tuple[Where, T]]:
    for number, item in enumerate(items, 1):
        yield Where(number, str(file.path), file.name), item


def _csv(file: DataFile, source: AnySource) -> Iterator[Record]:
    csv.field_size_limit(CSV_FIELD)
    with file.path.open(encoding="utf-8-sig", newline="") as lines:
        rows = _csv_rows(file, lines)
        header = next(rows, [])
        check_columns(source, header, str(file.path))
        for where, row in _numbered(file, rows):
            if len(row) == len(header):
                yield where, dict(zip(header, row, strict=True))
            else:
                what = f"has {len(row):,} fields, the header has {len(header):,}"
                advice = "quote texts that hold commas, or pass --on-bad-row=skip"
                yield where, Broken(what, advice)


def _csv_rows(file: DataFile, lines: Iterable[str]) -> Iterator[list[str]]:
    """Rows as lists of fields, without empty lines."""
    reader, begun = csv.reader(lines, strict=True), 1
    try:
        for row in reader:
            if row:
                yield row
            begun = reader.line_num + 1
    except csv.Error as error:
        raise WmDataError(
            f"{file.path}: the row that begins on line {begun:,} is not CSV ({error}); quote texts "
            "that hold commas, quotes or line ends, and double the quotes in them"
        ) from None


def _opener(file: DataFile) -> Any:
    return gzip.open if file.path.suffix == ".gz" else open


def _no_utf8(file: DataFile, error: UnicodeDecodeError) -> WmDataError:
    """Names the line: the error's own position is one in a buffer."""
    with _opener(file)(file.path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as found:
                what = f"{found.reason}, byte {found.start + 1:,}"
                return WmDataError(
                    f"line {number:,} of {file.path}: is not UTF-8 ({what}); save it as UTF-8"
                )
    return WmDataError(f"{file.path}: is not UTF-8 ({error.reason}); save it as UTF-8")


READERS = {".parquet": _parquet, ".jsonl": _json_lines, ".jsonl.gz": _json_lines, ".csv": _csv}
