"""The parquet files of a dataset folder: their columns, written a batch at a time."""

# pyarrow has no types: what comes out of it is unknown to pyright.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from wm_data.audit import Measured
from wm_data.examples import Example
from wm_data.rows import Text

T = TypeVar("T")

BATCH_ROWS = 6_000  # lines a row group: about 20 MB of text at 250 tokens an answer
MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
EXAMPLE_COLUMNS = pa.schema(
    [(name, pa.string()) for name in Example._fields[:8]]
    + [(name, pa.list_(MESSAGE)) for name in ("prompt", "chosen", "rejected")]
)
BAND_COLUMNS = EXAMPLE_COLUMNS.append(pa.field("text", pa.string())).append(
    pa.field("band", pa.int32())
)
TEXT_COLUMNS = pa.schema([(name, pa.string()) for name in ("id", "group", "source", "text")])
SEED_COLUMNS = pa.schema(
    [
        (name, pa.string())
        for name in (
            "row_id",
            "group",
            "source",
            "prompt",
            "red_answer",
            "blue_answer",
            "subject",
        )
    ]
)


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write examples in TRL's conversational preference format."""
    _write(path, EXAMPLE_COLUMNS, map(_example_batch, _batches(examples)))


def write_seeds(path: Path, items: Iterable[Measured]) -> None:
    """Write the kept rows themselves."""
    _write(path, SEED_COLUMNS, map(_seed_batch, _batches(items)))


def write_bands(path: Path, lines: Iterable[tuple[Example, str, int]]) -> None:
    """Write examples with the text that each asks about and the length that it was cut to."""
    _write(path, BAND_COLUMNS, map(_band_batch, _batches(lines)))


def write_texts(path: Path, texts: Iterable[Text]) -> None:
    """Write unmarked texts."""
    _write(path, TEXT_COLUMNS, map(_text_batch, _batches(texts)))


def _write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write batches in a thread of its own: packing one does not hinder the making of the next."""
    with (
        pq.ParquetWriter(path, schema, compression="zstd", version="2.6") as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        writing = None
        for batch in batches:
            if writing:
                writing.result()  # one at a time, so that memory stays small
            writing = pool.submit(writer.write_batch, batch, row_group_size=BATCH_ROWS)
        if writing:
            writing.result()


def _example_batch(examples: list[Example]) -> pa.RecordBatch:
    columns = list(zip(*examples, strict=True))
    system, user, chosen, rejected = columns[8:]
    prompts = [text for pair in zip(system, user, strict=True) for text in pair]
    arrays = [pa.array(column, pa.string()) for column in columns[:8]]
    arrays += [
        _messages(["system", "user"], prompts),
        _messages(["assistant"], list(chosen)),
        _messages(["assistant"], list(rejected)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=EXAMPLE_COLUMNS)


def _band_batch(lines: list[tuple[Example, str, int]]) -> pa.RecordBatch:
    arrays = _example_batch([example for example, _, _ in lines]).columns
    arrays += [
        pa.array([text for _, text, _ in lines], pa.string()),
        pa.array([band for _, _, band in lines], pa.int32()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=BAND_COLUMNS)


def _text_batch(texts: list[Text]) -> pa.RecordBatch:
    columns = [
        [text.text_id for text in texts],
        [text.group for text in texts],
        [text.source for text in texts],
        [text.text for text in texts],
    ]
    arrays = [pa.array(column, pa.string()) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=TEXT_COLUMNS)


def _messages(roles: list[str], contents: list[str]) -> pa.Array:
    """Lists of messages, each with the same roles in turn."""
    count = len(contents) // len(roles)
    offsets = pa.array(range(0, len(contents) + 1, len(roles)), pa.int32())
    fields = [pa.array(roles * count, pa.string()), pa.array(contents, pa.string())]
    structs = pa.StructArray.from_arrays(fields, fields=list(MESSAGE))
    return pa.ListArray.from_arrays(offsets, structs)


def _seed_batch(items: list[Measured]) -> pa.RecordBatch:
    columns = [
        [item.row_id for item in items],
        [item.group for item in items],
        [item.row.source for item in items],
        [item.row.prompt for item in items],
        [item.row.red_answer for item in items],
        [item.row.blue_answer for item in items],
        [item.row.subject for item in items],  # empty where the source names none
    ]
    arrays = [pa.array(column, pa.string()) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=SEED_COLUMNS)


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
