"""A training run from its name to its model card, read top to bottom. Parses no command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

import wm_data
from wm_manifest import DatasetUse, RunManifest, load
from wm_train import (
    anew,
    base,
    early_stop,
    engine,
    examples,
    full_disk,
    kept_pairs,
    out_of_memory,
    preflight,
    processes,
    provenance,
    publishing,
    references,
    resume,
    sharing,
    stages,
    summary,
    tracking,
)
from wm_train.beginning import Begun, begin
from wm_train.callbacks import Watch
from wm_train.config import ModelConfig, TrainConfig
from wm_train.divergence import Divergence
from wm_train.early_stop import EarlyStop
from wm_train.follow import follow
from wm_train.journal import Journal, read, rewind
from wm_train.lock import only_one
from wm_train.progress import Board
from wm_train.record import RunRecord
from wm_train.reporting import Reporting
from wm_train.resume import ResumableEval
from wm_train.retention import Retention
from wm_train.saying import say
from wm_train.signals import Stop
from wm_train.speed import Speed, mfu_per_token, spent
from wm_train.tracker import Tracker


def train(
    config: TrainConfig,
    run_dir: Path,
    preset: str | None,
    command: list[str],
    console: Console,
    restart: bool = False,
) -> RunManifest:
    """Train as `config` says and leave everything in `run_dir`, which is there.

    A run that the folder holds already goes on from its newest whole checkpoint; with none left,
    from step 0 if `restart` says so. Raises `WmTrainError` for what a user can mend; the manifest
    says how the run ended either way.
    """
    processes.check_precision(config.model.precision)
    tracking.resolve_mode(config.tracking.mode)  # refused now, and not when the rows are read
    if not processes.is_main():
        follow(config, run_dir)
    stop = Stop(lambda line: say(console, line, "yellow"))
    with (
        processes.failure_told(),
        full_disk.told(run_dir),
        out_of_memory.told(config, run_dir),
        only_one(run_dir),
        stop.listening(),
        tracking.kept_inside(run_dir),
    ):
        manifest = _train(config, run_dir, preset, command, console, restart, stop)
    processes.tell_end(0)
    return manifest


@dataclass(frozen=True)
class Prepared:
    """What there is to train, and on what."""

    dataset: wm_data.Dataset
    use: DatasetUse
    model: Any
    tokenizer: Any
    pairs: examples.Pairs


def _train(
    config: TrainConfig,
    run_dir: Path,
    preset: str | None,
    command: list[str],
    console: Console,
    restart: bool,
    stop: Stop,
) -> RunManifest:
    before = resume.previous(run_dir)
    if before is not None and before.status == "finished":
        return stages.finished_before(config, before, run_dir, console)
    base.check(config.model)
    if before is not None:
        before = anew.unless_same(config, before, run_dir, console)
    begun = begin(config, run_dir, preset, command, console, restart, before)
    record = begun.record
    journal: Journal | None = None
    tracker: Tracker | None = None
    status, cause = "failed", "unknown"
    record.resume(begun.step, begun.here)
    try:
        # ----------------------------------------------------------------------------------- data
        rewind(run_dir / "log.jsonl", begun.step if begun.checkpoint else None)
        journal = Journal(run_dir / "log.jsonl")
        going_on = f", on from step {begun.step:,}" if begun.checkpoint else ""
        say(console, f"{record.manifest.name} → {run_dir}{going_on}", "bold")
        publishing.announce(config.publish, console)
        prepared = _prepare(config, run_dir, begun, console)
        tracker = stages.open_tracker(config, run_dir, record)
        record.update(wandb=tracker.ref)
        tracker.dataset(prepared.use, run_dir / "dataset")

        # -------------------------------------------------------------------------------- trainer
        speed = Speed()
        bar, early = Board(console, speed), EarlyStop(config.early_stop, record, console)
        reporting = Reporting(
            *(run_dir, record, journal, tracker, bar, console),
            every=config.evaluation.every,
            over=lambda: trainer.state.global_step >= trainer.state.max_steps,
        )
        hook = _hook(config, run_dir, begun, prepared, reporting, bar, console)
        hook.leave_for(stop)
        trainer = engine.build(
            *(config, run_dir, prepared.model, prepared.tokenizer, prepared.pairs.data),
            callbacks=[
                Watch(journal, tracker, record, speed),
                Divergence(config.early_stop.max_loss, config.evaluation.every),
                *(bar, hook, early, stop),
            ],
        )
        sharing.as_before(trainer, before)
        preflight.run(config, run_dir, trainer, prepared.dataset)
        _record_sharing(trainer, record, before)
        trainer.retention = Retention(
            config.checkpoint.keep,
            config.checkpoint.max_bytes,
            best=lambda: early.best_step,
            has_best=config.early_stop.metric is not None,
        )
        speed.mfu_per_token = _mfu_per_token(config, trainer)

        # ---------------------------------------------------------------------------------- train
        steps = _fit(trainer, hook, bar, begun, console)
        seconds = round(spent(read(run_dir / "log.jsonl", "train")), 1)
        record.update(steps=steps, train_seconds=seconds)

        # ----------------------------------------------------------------------------------- save
        record.share()  # the others give their parts of the model, if it is in parts
        stages.save(trainer.model, prepared.tokenizer, run_dir, record, tracker)
        # A kill or an early stop may have come before the last ones were drawn.
        reporting.draw(last=True)
        early.name_best(record.manifest.steps)
        record.end("finished", early.cause())
        status = "finished"
        kept_pairs.remove(run_dir)
    except KeyboardInterrupt as error:
        status, cause = "interrupted", str(error) or "interrupted by the user"
        raise
    except BaseException as error:
        cause = provenance.one_line(error)
        raise
    finally:
        stages.end(status, cause, run_dir, record, journal, tracker, console)
    # ------------------------------------------------------------------------------------ publish
    console.print(summary.closing(record.manifest))
    publishing.at_end(config.publish, run_dir, console)
    manifest = load(RunManifest, run_dir / "manifest.json")  # now with the hub's commit
    for line in summary.next_steps(manifest, run_dir):
        say(console, line)
    return manifest


def _prepare(config: TrainConfig, run_dir: Path, begun: Begun, console: Console) -> Prepared:
    """Bring the dataset, the base and the pairs, and let the other processes have each."""
    record, before = begun.record, begun.before
    dataset, use = stages.bring_dataset(config, run_dir / "dataset", record, before, console)

    def tell(wanted: ModelConfig) -> None:
        processes.share((record.manifest, begun.checkpoint, wanted))

    say(console, f"base: {config.model.base}")  # from here a download may take minutes
    model, tokenizer = stages.load_base(config, run_dir, record, before, tell)
    longest = config.data.max_tokens
    size, share = config.optim.batch_size, config.loss.neutral.rows()
    train_split = dataset.stream("train")

    def tokenize(path: Path) -> examples.Pairs:
        return examples.tokenize(train_split, tokenizer, longest, size, console, share, path)

    key = kept_pairs.key(record.manifest, tokenizer, longest, share)
    pairs = kept_pairs.bring(run_dir, key, size, tokenize)
    processes.share(None)  # the others wait for the file
    record.update(rows_too_long=len(pairs.too_long))
    stages.report_pairs(pairs, longest, run_dir, console)
    return Prepared(dataset, use, model, tokenizer, pairs)


def _hook(
    config: TrainConfig,
    run_dir: Path,
    begun: Begun,
    prepared: Prepared,
    reporting: Reporting,
    bar: Board,
    console: Console,
) -> ResumableEval:
    """The evaluation before the first step, on the way and at the end."""
    e, record = config.evaluation, begun.record
    base_ref = record.manifest.base
    return ResumableEval(
        run_dir / "dataset",
        run_name=record.manifest.name,
        known=reporting.known,
        paused=bar.paused,
        share=record.share,
        every=e.every,
        on_report=reporting,
        progress=not console.quiet,
        out=run_dir / "eval",
        tokenizer=prepared.tokenizer,
        base_ref=base_ref,
        model_ref=base.trained(base_ref, record.manifest.name, record.manifest.output),
        # Before and after on the same items: only then can the two be compared.
        start={"limit": e.full_limit, "model_ref": base_ref},
        during={"limit": e.limit, **early_stop.on_the_way(config.early_stop, prepared.dataset)},
        final={"limit": e.full_limit},
        max_new_tokens=stages.answer_tokens(config, prepared.dataset, prepared.tokenizer),
        **e.model_dump(exclude={"every", "limit", "full_limit", "max_new_tokens"}),
    )


def _record_sharing(trainer: Any, record: RunRecord, before: RunManifest | None) -> None:
    """Note whether prompts are shared, which must not change when a run goes on."""
    sharing: bool = trainer.packing.shared
    if before is not None and before.shared_prefixes is not None:
        resume.same("the sharing of prompts", before.shared_prefixes, sharing)
    record.update(shared_prefixes=sharing, sharing_refused=trainer.sharing_refused)


def _fit(trainer: Any, hook: ResumableEval, bar: Board, begun: Begun, console: Console) -> int:
    """Train to the end; the steps made. Of a run whose last checkpoint is that, evaluate alone."""
    checkpoint, record = begun.checkpoint, begun.record
    if checkpoint is not None and resume.complete(checkpoint):
        resume.finish_loaded(trainer, checkpoint)
        hook.evaluate_last(trainer)
        return int(trainer.state.global_step)
    try:
        kept = record.folder / references.NAME
        references.attach(trainer, console, kept, references.key(record.manifest))
        outcome = trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    finally:
        bar.stop()
    return int(outcome.global_step)


def _mfu_per_token(config: TrainConfig, trainer: Any) -> float | None:
    import torch

    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    one = mfu_per_token(config, trainer.model, trainer.packing, trainer.train_dataset, name)
    return None if one is None else one / processes.number()  # tokens are counted over all
