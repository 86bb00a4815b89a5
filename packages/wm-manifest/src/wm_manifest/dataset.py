"""The record of a built dataset folder. Holds no time stamp: same inputs, same bytes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from wm_manifest.record import (
    SCHEMA_VERSION,
    Count,
    FileRef,
    OwnFile,
    Record,
    TemplateRef,
    Version,
)


class SourceRef(Record):
    """Where seed rows came from, as it was resolved when they were read."""

    id: str  # recipe-wide name, the value of the `source` column
    kind: Literal["grammar", "hub", "file"]
    location: str  # hub id, grammar name, or a path's last part
    revision: str | None = None  # the commit a hub id resolved to
    files: list[FileRef] = Field(default_factory=lambda: [])
    role: Literal["train", "heldout", "both"] = "both"
    rows_read: Count
    rows_kept: Count


class SplitCounts(Record):
    """How much one split holds. `examples` counts lines of the parquet files."""

    rows: Count
    groups: Count
    examples: Count
    by_task: dict[str, Count]  # {"watermark": ..., "detect": ...}


class BandCounts(Record):
    """How many test rows stand in a band of texts cut to one length, and why others do not."""

    rows: Count
    examples: Count
    dropped: dict[str, Count] = Field(default_factory=lambda: {})  # reason -> rows


class UnmarkedCounts(Record):
    """The texts that nobody marked, for false positives and thresholds."""

    texts: Count
    groups: Count
    sources: list[SourceRef]  # rows_read and rows_kept count texts
    dropped: dict[str, Count] = Field(default_factory=lambda: {})  # reason -> texts


class DatasetManifest(Record):
    """Everything needed to rebuild a dataset folder, and to check that it is whole."""

    kind: Literal["dataset"] = "dataset"
    schema_version: Version = SCHEMA_VERSION
    name: str
    recipe: dict[str, Any]  # the recipe file's content, resolved
    seed: int
    limit: int | None = None
    on_bad_row: Literal["error", "skip"] = "error"  # an empty or missing field: stop, or drop
    codebook: str  # version of the parity rule, with the hash of its counted table
    sources: list[SourceRef]
    splits: dict[str, SplitCounts]  # train, validation, test
    dropped: dict[str, Count]  # reason -> rows
    # counted tokens -> what stands in bands/test.parquet of that length
    bands: dict[str, BandCounts] = Field(default_factory=lambda: {})
    unmarked: UnmarkedCounts | None = None  # None: none/texts.parquet is not there
    checks: dict[str, Any] = Field(default_factory=lambda: {})  # duplicate checks, thresholds, ...
    templates: list[TemplateRef]
    packages: dict[str, str]  # versions of what wrote it
    files: list[OwnFile]
