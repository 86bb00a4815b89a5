"""Opens a run's record: of a new run, or of one that goes on. Reads no data and loads no model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

import wm_score
from wm_manifest import ModelRef, RunManifest, Stack
from wm_train import processes, provenance, stack, stages
from wm_train.checkpoints import step_of
from wm_train.config import TrainConfig
from wm_train.record import RunRecord
from wm_train.redact import redact_command, redact_fields


@dataclass(frozen=True)
class Begun:
    """A run whose record is open: anew, or gone on with."""

    record: RunRecord
    here: Stack
    before: RunManifest | None  # of the attempts before this one
    checkpoint: Path | None

    @property
    def step(self) -> int:
        """Of the checkpoint that training goes on from."""
        return step_of(self.checkpoint) if self.checkpoint else 0


def begin(
    config: TrainConfig,
    run_dir: Path,
    preset: str | None,
    command: list[str],
    console: Console,
    restart: bool,
    before: RunManifest | None,
) -> Begun:
    """Open the run's record; of one that goes on, see first that it is the same run."""
    # A URL may hold a password.
    plain: dict[str, Any] = redact_fields(json.loads(config.model_dump_json()))
    checkpoint = None
    if before is not None:
        checkpoint = stages.go_on(config, before, run_dir, restart, console)
        before = before.model_copy(update={"config": plain})
    here = stack.here(run_dir, command, before, config.model.four_bit)
    if before is not None:
        stack.announce(before, here, console)
    (run_dir / "config.yaml").write_text(yaml.safe_dump(plain, sort_keys=False), "utf-8")
    first = before or _first_manifest(config, plain, run_dir, preset, command, here)
    return Begun(RunRecord(run_dir, first), here, before, checkpoint)


def _first_manifest(
    config: TrainConfig,
    plain: dict[str, Any],
    run_dir: Path,
    preset: str | None,
    command: list[str],
    here: Stack,
) -> RunManifest:
    return RunManifest(
        name=run_dir.name,
        status="running",
        created_at=provenance.utc_now(),
        command=redact_command(command),
        preset=preset,
        config=plain,
        seed=config.seed,
        git=here.git,
        lock_sha256=here.lock_sha256,
        packages=here.packages,
        python=here.python,
        hardware=here.hardware,
        processes=processes.number(),
        base=ModelRef(location=config.model.base, revision=config.model.revision),
        codebook=wm_score.CODEBOOK,
        output="adapter" if config.model.lora else "model",
    )
