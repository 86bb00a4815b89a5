"""Looks for what looks like a key in the texts of a dataset. Repeats none of what it found."""

# pyarrow has no types: what comes out of it is unknown to pyright.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from wm_data.dataset import Dataset
from wm_data.errors import WmDataError
from wm_data.files import READ_ROWS
from wm_data.progress import tracked
from wm_manifest.secret_forms import ANY, FORMS

NAMED = 3  # places that an error lists
COLUMNS = ("prompt", "red_answer", "blue_answer", "subject", "text")
_FORMS = {kind: re.compile(form) for kind, form in FORMS.items()}
_ANY = re.compile(ANY)


def refuse(dataset: Dataset) -> None:
    """Raise `WmDataError` that names the first texts with what looks like a key.

    The rows come from people's conversations, and what is uploaded once is out.
    """
    found = [f"{place}: {_kind(text)}" for place, text in islice(_texts(dataset), NAMED)]
    if found:
        raise WmDataError(
            f"{dataset.path}: nothing was uploaded, since texts hold what looks like a key: "
            f"{'; '.join(found)}; drop these rows and build it again, or pass --with-keys where "
            "they are no secrets"
        )


def _texts(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Where a text with a key stands, and the text."""
    for ref in dataset.manifest.files:
        if ref.path == "dropped.jsonl" or ref.path.startswith(("seeds/", "none/")):
            for place, text in tracked(_of(dataset.path / ref.path), f"keys in {ref.path}", True):
                if _ANY.search(text):
                    yield f"{ref.path}, {place}", text


def _of(path: Path) -> Iterator[tuple[str, str]]:
    """The texts of a file of rows; examples are made of the same ones."""
    import pyarrow.parquet as pq

    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                yield f"line {number:,}", json.loads(line)["prompt"]
        return
    with pq.ParquetFile(path) as opened:
        names = [name for name in COLUMNS if name in opened.schema_arrow.names]
        batches = opened.iter_batches(READ_ROWS, columns=names)
        rows = (row for batch in batches for row in batch.to_pylist())
        for number, row in enumerate(rows, 1):
            for name in names:
                yield f"row {number:,}, {name}", row[name] or ""


def _kind(text: str) -> str:
    return next(kind for kind, form in _FORMS.items() if form.search(text))
