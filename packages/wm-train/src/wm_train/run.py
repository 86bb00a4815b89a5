"""A training run from its name to its model card, read top to bottom. Parses no command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import yaml
from rich.console import Console

import wm_score
from wm_manifest import ModelRef, RunManifest, Stack, load
from wm_train import (
    early_stop,
    engine,
    examples,
    full_disk,
    out_of_memory,
    processes,
    provenance,
    publishing,
    references,
    resume,
    stack,
    stages,
    summary,
    tracking,
)
from wm_train.callbacks import Watch
from wm_train.checkpoints import step_of
from wm_train.config import TrainConfig
from wm_train.divergence import Divergence
from wm_train.early_stop import EarlyStop
from wm_train.follow import follow
from wm_train.journal import Journal, read, rewind
from wm_train.lock import only_one
from wm_train.progress import Board
from wm_train.record import RunRecord
from wm_train.redact import redact_command, redact_fields
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


def _train(
    config: TrainConfig,
    run_dir: Path,
    preset: str | None,
    command: list[str],
    console: Console,
    restart: bool,
    stop: Stop,
) -> RunManifest:
    # ------------------------------------------------------------------------------------- record
    # A URL may hold a password.
    plain: dict[str, Any] = redact_fields(json.loads(config.model_dump_json()))
    before = resume.previous(run_dir)
    if before is not None and before.status == "finished":
        return stages.finished_before(config, before, run_dir, console)
    checkpoint = None
    if before is not None:
        checkpoint = stages.go_on(config, before, run_dir, restart, console)
        before = before.model_copy(update={"config": plain})
    here = stack.here(run_dir, command, before)
    if before is not None:
        stack.announce(before, here, console)
    (run_dir / "config.yaml").write_text(yaml.safe_dump(plain, sort_keys=False), "utf-8")
    first = before or _first_manifest(config, plain, run_dir, preset, command, here)
    record = RunRecord(run_dir, first)
    record.resume(step_of(checkpoint) if checkpoint else 0, here)
    rewind(run_dir / "log.jsonl", step_of(checkpoint) if checkpoint else None)
    journal = Journal(run_dir / "log.jsonl")
    tracker: Tracker | None = None
    status, cause = "failed", "unknown"
    try:
        # ----------------------------------------------------------------------------------- data
        say(console, f"{record.manifest.name} → {run_dir}", "bold")
        publishing.announce(config.publish, console)
        dataset_dir = run_dir / "dataset"
        dataset, use = stages.bring_dataset(config, dataset_dir, record, before, console)

        # ----------------------------------------------------------------------------------- base
        model, tokenizer = stages.load_base(config, run_dir, record, before)
        processes.share((record.manifest, checkpoint))  # the others read the rows at the same time

        # ---------------------------------------------------------------------------------- pairs
        train_split, longest = dataset.examples("train"), config.data.max_tokens
        size, share = config.optim.batch_size, config.loss.neutral.rows()
        pairs = examples.tokenize(train_split, tokenizer, longest, size, console, share)
        record.update(rows_too_long=len(pairs.too_long))
        stages.report_pairs(pairs, longest, run_dir, console)

        # -------------------------------------------------------------------------------- trainer
        tracker = stages.open_tracker(config, run_dir, record)
        record.update(wandb=tracker.ref)
        tracker.dataset(use, dataset_dir)
        speed = Speed()
        watch, bar = Watch(journal, tracker, record, speed), Board(console, speed)

        e = config.evaluation
        reporting = Reporting(
            *(run_dir, record, journal, tracker, bar, console),
            every=e.every,
            over=lambda: trainer.state.global_step >= trainer.state.max_steps,
        )
        hook = ResumableEval(
            dataset_dir,
            run_name=record.manifest.name,
            known=reporting.known,
            paused=bar.paused,
            together=record.share,
            every=e.every,
            on_report=reporting,
            progress=console.is_terminal,
            out=run_dir / "eval",
            tokenizer=tokenizer,
            model_ref=record.manifest.base,
            # Before and after on the same items: only then can the two be compared.
            start={"limit": e.full_limit},
            during={"limit": e.limit, **early_stop.on_the_way(config.early_stop, dataset)},
            final={"limit": e.full_limit},
            max_new_tokens=stages.answer_tokens(config, dataset, tokenizer),
            **e.model_dump(exclude={"every", "limit", "full_limit", "max_new_tokens"}),
        )
        hook.leave_for(stop)
        diverged = Divergence(config.early_stop.max_loss, e.every)
        early = EarlyStop(config.early_stop, record, console)
        watchers = [watch, diverged, bar, hook, early, stop]
        trainer = engine.build(config, run_dir, model, tokenizer, pairs.data, watchers)
        sharing: bool = trainer.packing.shared
        if before is not None and before.shared_prefixes is not None:
            resume.same("the sharing of prompts", before.shared_prefixes, sharing)
        record.update(shared_prefixes=sharing, sharing_refused=trainer.sharing_refused)
        trainer.retention = Retention(
            config.checkpoint.keep,
            config.checkpoint.max_bytes,
            best=lambda: early.best_step,
            has_best=config.early_stop.metric is not None,
        )

        speed.mfu_per_token = _mfu_per_token(config, trainer.model, pairs)

        # ---------------------------------------------------------------------------------- train
        if checkpoint is not None and resume.complete(checkpoint):
            resume.finish_loaded(trainer, checkpoint)
            hook.evaluate_last(trainer)
            record.update(steps=trainer.state.global_step)
        else:
            try:
                references.attach(trainer, console)
                outcome = trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
            finally:
                bar.stop()
            record.update(steps=outcome.global_step)
        record.update(train_seconds=round(spent(read(run_dir / "log.jsonl", "train")), 1))

        # ----------------------------------------------------------------------------------- save
        stages.save(trainer.model, tokenizer, run_dir, record, tracker)
        # A kill or an early stop may have come before the last ones were drawn.
        reporting.draw(last=True)
        early.name_best(record.manifest.steps)
        record.end("finished", early.cause())
        status = "finished"
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


def _mfu_per_token(config: TrainConfig, model: Any, pairs: examples.Pairs) -> float | None:
    import torch

    if not torch.cuda.is_available():
        return None
    one = mfu_per_token(config, model, cast(Any, pairs.data), torch.cuda.get_device_name())
    return None if one is None else one / processes.number()  # tokens are counted over all
