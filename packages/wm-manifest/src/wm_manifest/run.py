"""The record of a training run: what reproduction needs, and no secrets."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from wm_manifest.dataset import SourceRef, SplitCounts
from wm_manifest.evaluation import Control, Decoding, ModelRef, Sample
from wm_manifest.record import SCHEMA_VERSION, Estimate, FileRef, Record, TemplateRef

Status = Literal["running", "finished", "failed", "interrupted"]


class GitState(Record):
    """The code that ran. `commit` is None outside a git checkout."""

    commit: str | None
    dirty: bool
    diff_sha256: str | None = None
    diff_path: str | None = None  # the patch, relative to the run folder


class Hardware(Record):
    """The machine, as far as it changes speed or bits."""

    platform: str
    cpu: str
    cores: int
    memory_gib: float
    devices: list[str] = Field(default_factory=lambda: [])


class DatasetUse(Record):
    """The dataset a run trained on: a copy of what its own manifest says of origin and size."""

    name: str
    path: str
    manifest_sha256: str
    recipe: dict[str, Any]
    seed: int
    sources: list[SourceRef]
    splits: dict[str, SplitCounts]
    dropped: dict[str, int]


class WandbRef(Record):
    """Where the run's curves are."""

    id: str
    project: str
    entity: str | None
    mode: Literal["online", "offline", "disabled"]
    url: str | None
    sync_command: str | None


class Attempt(Record):
    """One process that worked on the run."""

    started_at: str
    ended_at: str | None = None
    from_step: int = 0
    cause: str | None = None  # why it ended: finished, interrupted, the error's text


class Checkpoint(Record):
    step: int
    path: str


class Evaluation(Record):
    """One evaluation inside the run; the whole of it is at `path`."""

    step: int
    path: str
    valid: bool
    figures: dict[str, Estimate]


class HubRef(Record):
    repo_id: str
    commit: str
    url: str


class RunManifest(Record):
    """One run, from its command line to its final figures; written anew at every phase."""

    kind: Literal["run"] = "run"
    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    status: Status
    created_at: str  # UTC, ISO 8601
    command: list[str]
    preset: str | None
    config: dict[str, Any]
    seed: int
    git: GitState
    lock_sha256: str | None
    packages: dict[str, str]
    python: str
    hardware: Hardware
    base: ModelRef
    base_license: str | None = None
    dataset: DatasetUse | None = None  # None until it is built
    templates: list[TemplateRef] = Field(default_factory=lambda: [])
    chat_template_sha256: str | None = None
    tokenizer_sha256: str | None = None
    codebook: str
    wandb: WandbRef | None = None
    attempts: list[Attempt] = Field(default_factory=lambda: [])
    checkpoints: list[Checkpoint] = Field(default_factory=lambda: [])
    decoding: Decoding | None = None
    evaluations: list[Evaluation] = Field(default_factory=lambda: [])
    controls: list[Control] = Field(default_factory=lambda: [])  # of the last evaluation
    samples: list[Sample] = Field(default_factory=lambda: [])  # of the last evaluation
    steps: int = 0
    train_seconds: float | None = None
    output: Literal["model", "adapter"]  # what the run made, and the folder's name
    weights_sha256: str | None = None
    files: list[FileRef] = Field(default_factory=lambda: [])  # the final model's or adapter's
    plots: list[str] = Field(default_factory=lambda: [])
    hub: HubRef | None = None
