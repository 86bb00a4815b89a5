"""Checkpoints that are whole or not there. Decides nothing about what a trainer's state is.

A checkpoint is written beside its place, sealed with `checkpoint.json` (size and SHA-256 of every
file), forced onto the disk and only then renamed. Whoever loads one checks the seal first.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wm_train.errors import CheckpointError
from wm_train.full_disk import is_full
from wm_train.provenance import sha256
from wm_train.redact import redact_files

if TYPE_CHECKING:
    from torch import nn

    from wm_train.retention import Retention

log = logging.getLogger(__name__)

SEAL = "checkpoint.json"
VERSION = 1
STAGING = ".staging"
PREFIX = "checkpoint-"
SLACK = 4096  # bytes: digits of steps and sizes, a pickle's alignment


def step_of(folder: Path) -> int:
    """The optimizer step that `checkpoint-<step>` was taken after."""
    return int(folder.name.removeprefix(PREFIX))


def found(root: Path) -> list[Path]:
    """Checkpoint folders under `root`, oldest first; whole or not."""
    folders = [f for f in root.glob(f"{PREFIX}*") if f.name.removeprefix(PREFIX).isdecimal()]
    return sorted(folders, key=step_of)


def seal(folder: Path, step: int) -> None:
    """Write what a whole `folder` holds into it, and force all of it onto the disk."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
    files = [
        {
            "path": path.relative_to(folder).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        }
        for path in paths
    ]
    text = json.dumps({"schema_version": VERSION, "step": step, "files": files}, indent=2) + "\n"
    (folder / SEAL).write_text(text, "utf-8")
    for path in [*paths, folder / SEAL, *(p for p in folder.rglob("*") if p.is_dir()), folder]:
        force(path)


def fault(folder: Path) -> str | None:
    """Why `folder` is not a whole checkpoint, in a few words; None if it is one."""
    try:
        seal: dict[str, Any] = json.loads((folder / SEAL).read_text("utf-8"))
        version, step = seal["schema_version"], seal["step"]
        files = [(f["path"], f["bytes"], f["sha256"]) for f in seal["files"]]
    except FileNotFoundError:
        return f"{SEAL} is missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{SEAL} cannot be read ({type(error).__name__})"
    if version != VERSION:
        return f"{SEAL} has schema_version {version}, not {VERSION}"
    if step != step_of(folder):
        return f"{SEAL} is of step {step}"
    for name, size, digest in files:
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} bytes, not {size:,}"
        try:
            if sha256(path) != digest:
                return f"{name} has other content than was saved"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None


def newest_whole(root: Path) -> tuple[Path | None, dict[str, str]]:
    """The newest whole checkpoint under `root`, and why each newer one was passed over."""
    passed: dict[str, str] = {}
    for folder in reversed(found(root)):
        why = fault(folder)
        if why is None:
            return folder, passed
        passed[folder.name] = why
    return None, passed


def force(path: Path) -> None:
    """Have a file or folder on the disk when this returns: a power cut loses what is not."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put(staged: Path, root: Path) -> Path:
    """Move a sealed folder to its place, over a damaged or older one of the same step."""
    target = root / staged.name
    if target.exists():
        shutil.rmtree(target)
    staged.rename(target)
    force(root)
    return target


class VerifiedCheckpoints:
    """Mixin before a `transformers.Trainer`: its checkpoints are sealed, and hold no arguments.

    Raises `CheckpointError` when the disk or the budget is full; the newest of before is untouched.
    """

    retention: Retention | None = None  # None: all of them stay
    _staging: Path | None = None

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        from transformers import Trainer

        from wm_eval.preserve import trim_heap

        trim_heap()  # now and then: steps of many lengths leave holes of many sizes
        trainer: Any = self
        root, step = Path(trainer.args.output_dir), trainer.state.global_step
        staging = root / STAGING
        if trainer.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)
            if self.retention is not None and (before := found(root)):
                self.retention.make_room(root, _next_size(before[-1], trainer.state))
            staging.mkdir(parents=True)
        trainer.accelerator.wait_for_everyone()
        self._staging = staging
        try:
            # Trainer's own, past TRL's, which writes a README.md over the run's.
            cast(Any, Trainer)._save_checkpoint(trainer, model, trial)
            trainer.accelerator.wait_for_everyone()
            if trainer.args.should_save:
                seal(staging / f"{PREFIX}{step}", step)
                saved = put(staging / f"{PREFIX}{step}", root)
                if self.retention is not None:
                    self.retention.prune(root)
                    if step < trainer.state.max_steps:  # else none will be written after it
                        self.retention.check(total(saved))
        except Exception as error:
            if not is_full(error, root):
                raise
            raise CheckpointError(
                f"the disk is full: the checkpoint of step {step} was not saved, those before are "
                "whole; free some space or lower checkpoint.keep, then resume the run with --resume"
            ) from error
        finally:
            self._staging = None
            if trainer.args.should_save:
                shutil.rmtree(staging, ignore_errors=True)

    def _get_output_dir(self, trial: Any) -> str:
        if self._staging is not None:
            return str(self._staging)
        return super()._get_output_dir(trial)  # pyright: ignore

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Weights, or the adapter, and tokenizer; no pickle of arguments, as Trainer's writes."""

        from wm_train import sharded

        trainer: Any = self
        model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
        # PEFT would ask the hub whether the base's vocabulary was resized.
        extra = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
        folder, main = output_dir or trainer.args.output_dir, trainer.args.should_save
        with sharded.for_disk(model) as saved:
            if saved is not None:
                saved.save_pretrained(folder, state_dict=state_dict, is_main_process=main, **extra)
        if main:
            trainer.processing_class.save_pretrained(folder)
            (Path(folder) / "README.md").unlink(missing_ok=True)  # PEFT's
            redact_files(Path(folder))  # the base's path stands in them


def total(folder: Path) -> int:
    """Bytes of all files below `folder`, as their lengths say; blocks of the disk may be more."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _next_size(newest: Path, state: Any) -> int:
    """Bytes that the next checkpoint will have: tensors do not grow, the trainer's log does."""
    known = newest / "trainer_state.json"
    log_bytes = len(json.dumps(asdict(state), indent=2))
    grown = log_bytes - known.stat().st_size if known.is_file() else 0
    return total(newest) + max(0, grown) + SLACK
