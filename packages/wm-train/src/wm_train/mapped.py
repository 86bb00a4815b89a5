"""Tables in files of Arrow's own form: written a part at a time, and never read whole.

A file is mapped into memory: the system loads what is looked at, drops it where memory is short,
and has one copy for all processes. Knows nothing of what is in a table.
"""

# pyarrow has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

if TYPE_CHECKING:
    from datasets import Dataset

Columns = Mapping[str, Sequence[Any]]


def written(batches: Iterable[Columns], names: Any, path: Path | None) -> Dataset:
    """The table of all `batches`, in the file `path`; in memory where there is none.

    `names` has each column's type.
    """
    schema = pa.schema(names)
    found = (pa.RecordBatch.from_pydict(cast(Any, batch), schema) for batch in batches)
    return _written(found, schema, path)


def without(data: Dataset, column: str, values: Collection[str], path: Path | None) -> Dataset:
    """The rows of `data` whose `column` is none of `values`.

    `path` is its file, which is written anew: an index over the table would be followed at every
    look into it.
    """
    from pyarrow import compute

    pc, table, out = cast(Any, compute), cast(Any, data.data), pa.array(sorted(values))

    def kept() -> Iterator[Any]:
        for batch in table.to_batches():
            yield batch.filter(pc.invert(pc.is_in(batch.column(column), out)))

    if path is None:
        return _written(kept(), table.schema, None)
    fewer = path.with_suffix(".fewer")
    _written(kept(), table.schema, fewer)
    fewer.replace(path)
    return read(path)


def read(path: Path) -> Dataset:
    """The table in a file, mapped.

    `Dataset.from_file` would do the same, and write what is made of its rows beside the file.
    """
    with pa.memory_map(str(path)) as source:
        return _dataset(pa.ipc.open_stream(source).read_all())


def _written(batches: Iterable[Any], schema: Any, path: Path | None) -> Dataset:
    if path is None:
        return _dataset(pa.Table.from_batches(batches, schema))
    with path.open("wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return read(path)


def _dataset(table: Any) -> Dataset:
    from datasets import Dataset

    return Dataset(table, fingerprint=uuid.uuid4().hex)  # a hash of the table would copy it
