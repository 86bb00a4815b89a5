"""What the other processes of a run do: train along. Of files they write their random state alone.

`run` is the main one's story; what is asked of all of them is here in the same order.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

import wm_data
from wm_eval import help_evaluate
from wm_manifest import RunManifest
from wm_train import (
    base,
    engine,
    full_disk,
    kept_pairs,
    out_of_memory,
    preflight,
    processes,
    references,
    resume,
    sharded,
    sharing,
)
from wm_train.config import ModelConfig, TrainConfig
from wm_train.divergence import Divergence, DivergenceError
from wm_train.early_stop import EarlyStop
from wm_train.errors import CheckpointError, ConfigError, DataError
from wm_train.record import RunRecord
from wm_train.resume import CatchingUp
from wm_train.signals import Stop, Stopped


def follow(config: TrainConfig, run_dir: Path) -> NoReturn:
    """Train with the main process until it ends, and end as it does."""
    stop = Stop()
    with stop.listening(), full_disk.told(run_dir), out_of_memory.told(config, run_dir):
        manifest, checkpoint, wanted = processes.share((None, None, None))
        assert manifest is not None
        assert wanted is not None
        # The same in all, at one step or of the same rows: the main one says it.
        with suppress(DivergenceError, DataError, CheckpointError, _BaseError):
            try:
                _train(config, run_dir, manifest, checkpoint, wanted, stop)
            except Stopped as stopped:
                if not stopped.agreed:  # the others are at something that this one has left
                    sys.exit(stopped.exit_code)
        sys.exit(processes.hear_end())


def _train(
    config: TrainConfig,
    run_dir: Path,
    manifest: RunManifest,
    checkpoint: Path | None,
    wanted: ModelConfig,
    stop: Stop,
) -> None:
    record = Heard(run_dir, manifest)
    dataset = wm_data.read(run_dir / "dataset")
    location = base.prepare(config.model, run_dir, config.seed)  # it is there already
    model, tokenizer = _load(wanted, location)
    processes.share(None)  # until the main process has tokenised the rows
    pairs = kept_pairs.read(run_dir)
    hook = Helping(run_dir / "dataset", record, config.evaluation.every, tokenizer)
    diverged = Divergence(config.early_stop.max_loss, config.evaluation.every)
    early = EarlyStop(config.early_stop, record, Console(quiet=True))
    hook.leave_for(stop)
    watchers = [diverged, hook, early, stop]
    trainer = engine.build(config, run_dir, model, tokenizer, pairs.data, watchers)
    sharing.as_before(trainer, manifest)
    preflight.run(config, run_dir, trainer, dataset)
    if checkpoint is not None and resume.complete(checkpoint):
        resume.finish_loaded(trainer, checkpoint)
        hook.evaluate_last(trainer)
    else:
        references.attach(trainer)
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    record.share()  # it ended as this one did, and saves what all have
    with sharded.for_disk(trainer.model):
        pass


class _BaseError(Exception):
    """The base cannot be loaded by one of the processes; the main one says why."""


def _load(wanted: ModelConfig, location: str) -> tuple[Any, Any]:
    """The base; of one in parts, once all processes have theirs, and it is the right one."""
    if not wanted.sharded:
        model, tokenizer, _ = base.load(wanted, location)
        return model, tokenizer
    try:
        with processes.failing_together():
            model, tokenizer, _ = base.load(wanted, location)
    except ConfigError as error:
        raise _BaseError from error
    return model, tokenizer


class Heard(RunRecord):
    """A copy of the main process's record, which is never written."""

    def _write(self, manifest: RunManifest) -> RunManifest:
        return manifest


class Helping(CatchingUp):
    """Answers a part of what the main process asks, and takes over what it found."""

    def __init__(self, dataset_dir: Path, record: RunRecord, every: int, tokenizer: Any) -> None:
        super().__init__(
            dataset_dir, every=every, on_report=lambda report: None, tokenizer=tokenizer
        )
        self._record = record

    def _evaluate(self, state: Any, options: Any, kwargs: Any) -> None:
        with self._together(), sharded.whole(kwargs["model"]) as model:
            help_evaluate(model, self.tokenizer, processes)
            self._record.share()
