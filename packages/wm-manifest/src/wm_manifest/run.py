"""The record of a training run: what reproduction needs. Takes no secret out: its writer does."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from wm_manifest.dataset import SourceRef, SplitCounts
from wm_manifest.evaluation import Control, Decoding, ModelRef, Sample
from wm_manifest.record import (
    SCHEMA_VERSION,
    Count,
    Estimate,
    FileRef,
    Record,
    Sha256,
    TemplateRef,
    Version,
)

Status = Literal["running", "finished", "failed", "interrupted"]


class GitState(Record):
    """The code that ran. `commit` is None outside a git checkout."""

    commit: str | None
    dirty: bool
    diff_sha256: Sha256 | None = None
    diff_path: str | None = None  # the patch, relative to the run folder
    # Where others can fetch the commit: "https://github.com/OWNER/NAME". None also in older files.
    repository: str | None = None


class Hardware(Record):
    """The machine, as far as it changes speed or bits."""

    platform: str
    cpu: str
    cores: Count
    memory_gib: float
    devices: list[str] = Field(default_factory=lambda: [])
    threads: Count | None = None  # of one operation on the CPU: sums are split among them


class DatasetUse(Record):
    """The dataset a run trained on: a copy of what its own manifest says of origin and size."""

    name: str
    path: str
    manifest_sha256: Sha256
    recipe: dict[str, Any]
    seed: int
    limit: int | None = None  # as the folder was built; None also in older files
    on_bad_row: Literal["error", "skip"] = "error"
    sources: list[SourceRef]
    splits: dict[str, SplitCounts]
    dropped: dict[str, Count]


class WandbRef(Record):
    """Where the run's curves are."""

    id: str
    project: str
    entity: str | None
    mode: Literal["online", "offline", "disabled"]
    url: str | None
    sync_command: str | None


class Stack(Record):
    """How an attempt was started, and on what; a run may be gone on with elsewhere."""

    command: list[str]
    git: GitState
    lock_sha256: Sha256 | None
    packages: dict[str, str]
    python: str
    hardware: Hardware


class Attempt(Record):
    """One process that worked on the run."""

    started_at: str
    ended_at: str | None = None
    from_step: Count = 0
    outcome: Literal["finished", "failed", "interrupted", "killed"] | None = None
    cause: str | None = None  # why it ended: finished, the signal, the error's text
    stack: Stack | None = None  # of later attempts; the first one's is the run's own


class Checkpoint(Record):
    step: Count
    path: str


class BestCheckpoint(Record):
    """The checkpoint of the best evaluation by one figure; its own evaluation has its step."""

    step: Count
    path: str
    metric: str
    mode: Literal["max", "min"]
    figure: Estimate


class Evaluation(Record):
    """One evaluation inside the run; the whole of it is at `path`."""

    step: Count
    path: str
    valid: bool
    figures: dict[str, Estimate]
    templates: dict[str, Sha256] = Field(default_factory=lambda: {})  # id -> SHA-256 of its text
    split: str = "test"  # of the dataset; validation where the best is chosen by it


class HubRef(Record):
    repo_id: str
    commit: str
    url: str


class RunManifest(Record):
    """One run, from its command line to its final figures; written anew at every phase."""

    kind: Literal["run"] = "run"
    schema_version: Version = SCHEMA_VERSION
    name: str
    status: Status
    created_at: str  # UTC, ISO 8601
    command: list[str]  # of the first attempt, as are code, packages and machine below
    preset: str | None
    config: dict[str, Any]
    seed: int
    git: GitState
    lock_sha256: Sha256 | None
    packages: dict[str, str]
    python: str
    hardware: Hardware
    processes: Count = 1  # that trained together
    base: ModelRef
    base_license: str | None = None
    base_weights_sha256: Sha256 | None = None  # of a folder's; None also in older files
    dataset: DatasetUse | None = None  # None until it is built
    rows_too_long: Count | None = None  # left out of training, above data.max_tokens
    templates: list[TemplateRef] = Field(default_factory=lambda: [])
    chat_template_sha256: Sha256 | None = None
    tokenizer_sha256: Sha256 | None = None
    codebook: str
    wandb: WandbRef | None = None
    attempts: list[Attempt] = Field(default_factory=lambda: [])
    checkpoints: list[Checkpoint] = Field(default_factory=lambda: [])
    best: BestCheckpoint | None = None  # where early_stop.metric names a figure
    decoding: Decoding | None = None
    evaluations: list[Evaluation] = Field(default_factory=lambda: [])
    controls: list[Control] = Field(default_factory=lambda: [])  # of the last evaluation
    samples: list[Sample] = Field(default_factory=lambda: [])  # of the last evaluation
    shared_prefixes: bool | None = None  # whether a prompt was computed once for its answers
    sharing_refused: str | None = None  # why not, where it was asked for: batches were padded
    steps: Count = 0
    train_seconds: float | None = None
    output: Literal["model", "adapter"]  # what the run made, and the folder's name
    weights_sha256: Sha256 | None = None
    files: list[FileRef] = Field(default_factory=lambda: [])  # the final model's or adapter's
    plots: list[str] = Field(default_factory=lambda: [])
    hub: HubRef | None = None
