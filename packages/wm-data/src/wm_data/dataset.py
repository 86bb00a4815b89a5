"""Reads a dataset folder back and checks it against its manifest. Changes nothing."""

# pyarrow has no types: what comes out of it is unknown to pyright.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.parquet as pq

from wm_data.errors import WmDataError
from wm_data.rows import Row
from wm_data.store import sha256_of
from wm_data.stream import Stream
from wm_manifest import DatasetManifest, ManifestError, load

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Dataset:
    """A whole dataset folder. Files are read when they are asked for."""

    path: Path
    manifest: DatasetManifest

    def examples(self, split: str, columns: Sequence[str] | None = None) -> datasets.Dataset:
        """The examples of a split, in memory; nothing goes into the cache of `datasets`.

        Texts of a large one take gigabytes: name the `columns` that are wanted, or take `stream`.
        """
        import datasets

        name = f"data/{split}-00000-of-00001.parquet"
        wanted = None if columns is None else list(columns)
        table = cast(pa.Table, pq.read_table(self._file(split, name), columns=wanted))
        # Its own fingerprint is of the pickled table: a copy of it, and no pickle of Arrow's
        # functions where packages are not in the interpreter's own folder.
        known = next(ref.sha256 for ref in self.manifest.files if ref.path == name)
        of = known if wanted is None else hashlib.sha256(f"{known} {wanted}".encode()).hexdigest()
        return datasets.Dataset(table, fingerprint=of)

    def stream(self, split: str) -> Stream:
        """The examples of a split, read when they are come to: those of a large one fill memory."""
        return Stream(self._file(split, f"data/{split}-00000-of-00001.parquet"))

    def rows(self, split: str) -> list[Row]:
        """The seed rows of a split."""
        table = pq.read_table(self._file(split, f"seeds/{split}.parquet"))
        names = ["source", "prompt", "red_answer", "blue_answer"]
        names += [name for name in ("subject",) if name in table.column_names]  # older ones: none
        records = cast(list[dict[str, str]], table.select(names).to_pylist())
        return [Row(**record) for record in records]

    def _file(self, split: str, name: str) -> Path:
        if split not in self.manifest.splits:
            known = ", ".join(self.manifest.splits)
            raise WmDataError(f"{self.path}: has no split {split!r}; it has {known}")
        return self.path / name


def is_dataset(folder: Path) -> bool:
    """Whether a folder was made by `wm-data build`, of whatever version; its files are not read."""
    try:
        content: object = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and cast(dict[str, object], content).get("kind") == "dataset"


def read(folder: Path | str) -> Dataset:
    """Open a dataset folder; `WmDataError` when a file is missing or is not what was written."""
    path = Path(folder)
    if not path.is_dir():
        raise WmDataError(f"{path}: no such folder; build it with `wm-data build`")
    if not (path / "manifest.json").is_file():
        raise WmDataError(f"{path}: has no manifest.json, so it is no dataset folder of wm-data")
    try:
        manifest = load(DatasetManifest, path / "manifest.json")
    except ManifestError as error:
        raise WmDataError(str(error)) from error
    for ref in manifest.files:
        file = path / ref.path
        if not file.is_file():
            raise WmDataError(f"{file}: is missing; build the dataset again")
        size = file.stat().st_size
        if size != ref.bytes:
            raise WmDataError(
                f"{file}: has {size:,} bytes, the manifest says {ref.bytes:,}; "
                "it was changed after the build, build the dataset again"
            )
        if sha256_of(file) != ref.sha256:
            raise WmDataError(
                f"{file}: its hash is not the manifest's; it was changed after the build, "
                "build the dataset again"
            )
    return Dataset(path, manifest)
