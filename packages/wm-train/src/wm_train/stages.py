"""The stages of a run around its training, each recorded as it ends. `run` has their order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

import wm_data
import wm_publish
from wm_eval.decoding import answer_limit
from wm_eval.prompting import chat_template
from wm_manifest import DatasetManifest, DatasetUse, RunManifest, load
from wm_manifest.weights import weights_sha256
from wm_train import (
    base,
    checkpoints,
    columns,
    data,
    engine,
    examples,
    full_disk,
    kept_pairs,
    neutral,
    processes,
    provenance,
    publishing,
    resume,
    sharded,
    tracking,
)
from wm_train.config import ModelConfig, TrainConfig
from wm_train.journal import Journal
from wm_train.record import RunRecord, dataset_use
from wm_train.saying import say
from wm_train.tracker import Tracker

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def finished_before(
    config: TrainConfig, before: RunManifest, run_dir: Path, console: Console
) -> RunManifest:
    """The run is over. What comes after its end is made up for: it may have been killed there."""
    resume.check(config, before)
    kept_pairs.remove(run_dir)
    _write_card(before, run_dir)
    say(console, f"{before.name} is finished already; nothing was trained")
    publishing.at_end(config.publish, run_dir, console)
    return load(RunManifest, run_dir / "manifest.json")


def go_on(
    config: TrainConfig, before: RunManifest, run_dir: Path, restart: bool, console: Console
) -> Path | None:
    """The checkpoint to go on from, if it is the same run; what was left half made is removed."""
    for line in resume.check(config, before):
        say(console, line, "yellow")
    resume.same("the number of processes", before.processes, processes.number())
    checkpoint = resume.checkpoint(run_dir, before, restart, console)
    resume.clear(run_dir, before)
    return checkpoint


def bring_dataset(
    config: TrainConfig,
    folder: Path,
    record: RunRecord,
    before: RunManifest | None,
    console: Console,
) -> tuple[wm_data.Dataset, DatasetUse]:
    """Bring the dataset into `folder`, unless it is there, and record it."""
    if not folder.exists():
        data.bring(config.data, folder)
    dataset = wm_data.read(folder)
    described = dataset.manifest
    use = dataset_use(described, folder, folder.parent)
    templates = neutral.trained_with(described.templates, config.loss.neutral.rows())
    if before is not None and before.dataset is not None:
        resume.same("the dataset", before.dataset.manifest_sha256, use.manifest_sha256)
        resume.same("the prompts' text", before.templates, templates)
    record.update(dataset=use, templates=templates, codebook=described.codebook)
    say(console, rows_told(described))
    return dataset, use


def rows_told(manifest: DatasetManifest) -> str:
    """What came of each source's rows: a mix may leave most of them out, and that must be seen."""
    kept = [f"{s.id} {s.rows_kept:,} of {s.rows_read:,}" for s in manifest.sources]
    lost = sorted(manifest.dropped.items(), key=lambda item: -item[1])
    out = ", ".join(f"{reason} {number:,}" for reason, number in lost)
    return f"rows kept: {', '.join(kept)}" + (f"; left out: {out}" if out else "")


def load_base(
    config: TrainConfig,
    run_dir: Path,
    record: RunRecord,
    before: RunManifest | None,
    tell: Callable[[ModelConfig], None],
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the base model and its tokenizer, and record them.

    The other processes are told which to load: after this one, which finds what is wrong with it,
    but of a model in parts each loads its own at the same time.
    """
    location = base.prepare(config.model, run_dir, config.seed)
    begun = before if before is not None and before.tokenizer_sha256 is not None else None
    wanted = base.pinned(config.model, begun.base) if begun else config.model
    if wanted.sharded:
        wanted = base.at_commit(wanted, location)
        tell(wanted)
        with processes.failing_together():
            return _load_base(wanted, location, run_dir, record, begun)
    loaded = _load_base(wanted, location, run_dir, record, begun)
    tell(base.pinned(config.model, record.manifest.base))
    return loaded


def _load_base(
    wanted: ModelConfig,
    location: str,
    run_dir: Path,
    record: RunRecord,
    begun: RunManifest | None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    model, tokenizer, revision = base.load(wanted, location)
    reference = base.reference(model, location, revision, run_dir)
    weights = weights_sha256(Path(location))  # None of a hub id, which has its commit
    tokens = _tokenizer_fields(tokenizer)
    if begun:
        resume.same_base(begun, reference, weights)
        for field, value in tokens.items():
            resume.same(field, getattr(begun, field), value)
    # Nothing is told offline: what the first attempt was told stays.
    licence = base.license_of(location) or (begun.base_license if begun else None)
    record.update(base=reference, base_license=licence, base_weights_sha256=weights, **tokens)
    return model, tokenizer


def answer_tokens(
    config: TrainConfig, dataset: wm_data.Dataset, tokenizer: PreTrainedTokenizerBase
) -> int:
    """The most tokens of an answer in an evaluation.

    Half as many again as the longest gold answer, but what training leaves out as too long is not
    waited for: one such answer in the test would make every answer's cache as long as itself.
    """
    if config.evaluation.max_new_tokens is not None:
        return config.evaluation.max_new_tokens
    gold = [answer for row in dataset.rows("test") for answer in (row.red_answer, row.blue_answer)]
    return min(answer_limit(tokenizer, gold), config.data.max_tokens)


def open_tracker(config: TrainConfig, run_dir: Path, record: RunRecord) -> Tracker:
    """Open the W&B run, new or of the attempts before; its id is recorded first."""
    t = config.tracking
    wandb_config = tracking.config_of(record.manifest)
    reserved = record.manifest.wandb or tracking.reserve(t.mode, t.project, t.entity)
    record.update(wandb=reserved)
    return tracking.open_run(
        record.manifest.name,
        run_dir,
        wandb_config,
        t.mode,
        t.project,
        t.entity,
        reserved,
        attempt=len(record.manifest.attempts),
    )


def save(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    run_dir: Path,
    record: RunRecord,
    tracker: Tracker,
) -> None:
    """Write the result, record its files, and give an adapter to W&B."""
    folder = run_dir / record.manifest.output
    with sharded.for_disk(model) as result:
        engine.save(result, tokenizer, folder)
    for path in (*(p for p in folder.rglob("*") if p.is_file()), folder):
        checkpoints.force(path)  # before a manifest that says "finished"
    files = provenance.file_refs(folder, run_dir)
    record.update(files=files, weights_sha256=provenance.weights_sha256(files))
    if record.manifest.output == "adapter":
        tracker.adapter(record.manifest.name, folder)


def end(
    status: str,
    cause: str,
    run_dir: Path,
    record: RunRecord,
    journal: Journal | None,
    tracker: Tracker | None,
    console: Console,
) -> None:
    """Close all that is open. Where something else ended the run, a full disk does not hide it."""
    failing = status != "finished"
    if failing:
        with full_disk.tolerated(failing):
            record.end(status, cause)
    if journal is not None:
        journal.close()
    if tracker is not None:
        trouble = tracker.finish(exit_code=1 if failing else 0)
        with full_disk.tolerated(failing):
            record.update(wandb=tracker.ref)
        if trouble is not None:
            say(console, trouble, "yellow")
    with full_disk.tolerated(failing):
        _write_card(record.manifest, run_dir)


def _write_card(manifest: RunManifest, run_dir: Path) -> None:
    (run_dir / "README.md").write_text(wm_publish.render_card(manifest), "utf-8")


def _tokenizer_fields(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    chat: Any = tokenizer  # its attributes are typed as whatever a tokenizer may have
    return {
        "chat_template_sha256": provenance.text_sha256(chat_template(tokenizer) or ""),
        "tokenizer_sha256": provenance.text_sha256(chat.backend_tokenizer.to_str()),
    }


def report_pairs(pairs: examples.Pairs, max_tokens: int, run_dir: Path, console: Console) -> None:
    """Say what is trained on, data and device, and name what is not."""
    import torch

    rows = len(set(columns.values(pairs.data, "row_id")))
    on = f"the CPU, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        on = torch.cuda.get_device_name()
    counted = f"{len(pairs.data):,} pairs of {rows:,} rows"
    say(console, f"{counted}, at most {pairs.longest:,} tokens; on {on}")
    if pairs.too_long:
        path = run_dir / "left-out-rows.txt"
        path.write_text("\n".join(pairs.too_long) + "\n", "utf-8")
        left_out = f"left out: {len(pairs.too_long):,} rows above data.max_tokens = {max_tokens:,}"
        say(console, f"{left_out}; their ids are in {path}", "yellow")
