"""What a run that was cut off goes on from, and when it may not. Trains nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import pydantic
from rich.console import Console
from transformers import TrainerControl, TrainerState, TrainingArguments

from wm_eval import WatermarkEvalCallback, leading
from wm_eval.together import Talk
from wm_manifest import ModelRef, RunManifest, load
from wm_train import checkpoints, processes, sharded, status
from wm_train.config import TrainConfig, first_fault
from wm_train.errors import CheckpointError, ResumeError
from wm_train.redact import MARK, redact_fields
from wm_train.saying import say
from wm_train.signals import Stop

# Sections that leave the weights as they are.
FREE = ("log_every", "checkpoint", "tracking", "publish")
# What memory depends on, and the order of sums, but not what a step computes. Answers are drawn
# in other batches, and come out otherwise: as likely as before.
OF_MEMORY = ("optim.pack_tokens", "model.gradient_checkpointing", "evaluation.batch_size")


def previous(run_dir: Path) -> RunManifest | None:
    """The manifest of the run that `run_dir` holds; None if it got no further than its folder."""
    path = run_dir / "manifest.json"
    return load(RunManifest, path) if path.is_file() else None


def latest(runs_dir: Path) -> Path:
    """The newest run that was cut off: neither finished, nor running at this moment."""
    for run in status.runs(runs_dir):
        if run.state in ("interrupted", "crashed"):
            return Path(run.folder)
    raise ResumeError(f"{runs_dir} holds no run that was cut off; give its name, or --runs-dir")


def config_of(run_dir: Path) -> tuple[TrainConfig, str | None]:
    """The configuration that a run was started with, and its preset's name."""
    manifest = previous(run_dir)
    if manifest is None:
        raise ResumeError(f"{run_dir} holds no manifest.json; start it with its first command")
    if MARK in json.dumps(manifest.config):
        raise ResumeError(f"{run_dir}: a secret was left out of config.yaml; use the first command")
    try:
        return TrainConfig.model_validate(manifest.config), manifest.preset
    except pydantic.ValidationError as error:
        raise ResumeError(
            f"{run_dir}: this version of wm-train cannot read the run's configuration: "
            f"{first_fault(error)}; go on with the version that began it"
        ) from error


def check(config: TrainConfig, before: RunManifest) -> list[str]:
    """Raise `ResumeError` naming the first field that would make it another run.

    Those that a run may be gone on with when memory was short are returned, a line each.
    """
    lines: list[str] = []
    for field, (past, new) in changes(config, before).items():
        if field in OF_MEMORY:
            lines.append(told(field, past, new))
            continue
        raise ResumeError(
            f"{before.name} was started with {field} = {past!r}, not {new!r}: going on would be "
            f"another run; give the old value, go on with --resume {before.name}, or take another "
            "--name"
        )
    return lines


def changes(config: TrainConfig, before: RunManifest) -> dict[str, tuple[Any, Any]]:
    """Fields that are not as the run was started with, but for the `FREE` ones: then and now."""
    now: dict[str, Any] = redact_fields(json.loads(config.model_dump_json(exclude=set(FREE))))
    old = _with_defaults(before.config)
    return _differences({name: value for name, value in old.items() if name not in FREE}, now)


def told(field: str, past: Any, new: Any) -> str:
    """What is said of a field that a run goes on without its old value of."""
    return f"{field} is {new!r} from now on, and was {past!r}"


def _with_defaults(fields: dict[str, Any]) -> dict[str, Any]:
    """What a run was started with, and for fields that came later what it did without them."""
    try:
        return redact_fields(json.loads(TrainConfig.model_validate(fields).model_dump_json()))
    except pydantic.ValidationError:
        return fields  # of a version that had others: the comparison names one


def same(what: str, before: Any, now: Any) -> None:
    """Raise `ResumeError` when `what` is not what the run began with."""
    if before != now:
        raise ResumeError(f"{what} is not what the run began with (was {before}, is {now})")


def same_base(before: RunManifest, base: ModelRef, weights_sha256: str | None) -> None:
    """Raise `ResumeError` when the base is not the run's; older runs do not say its weights."""
    same("the base model", before.base, base)
    if before.base_weights_sha256 is not None:
        what = f"the SHA-256 of the weights in {base.location}"
        same(what, before.base_weights_sha256, weights_sha256)


def clear(run_dir: Path, before: RunManifest) -> None:
    """Remove what the last attempt left half made, so that it is made again."""
    for staged in run_dir.glob(".manifest.json.*.tmp"):
        staged.unlink()
    if before.dataset is None:
        shutil.rmtree(run_dir / "dataset", ignore_errors=True)
    if before.tokenizer_sha256 is None:
        shutil.rmtree(run_dir / "base", ignore_errors=True)
    shutil.rmtree(run_dir / "checkpoints" / checkpoints.STAGING, ignore_errors=True)
    shutil.rmtree(run_dir / before.output, ignore_errors=True)


def checkpoint(run_dir: Path, before: RunManifest, restart: bool, console: Console) -> Path | None:
    """The newest whole checkpoint; says which were passed over. None: from the beginning.

    Raises `CheckpointError` when there were checkpoints and none is whole, unless `restart`.
    """
    root = run_dir / "checkpoints"
    chosen, passed = checkpoints.newest_whole(root)
    newest = checkpoints.step_of(chosen) if chosen else -1
    for gone in before.checkpoints:
        if gone.step > newest and not (run_dir / gone.path).exists():
            passed[Path(gone.path).name] = "its folder is missing"
    for name, why in passed.items():
        say(console, f"{name} is passed over: {why}", "yellow")
    if chosen is None and (passed or before.checkpoints) and not restart:
        raise CheckpointError(
            f"{run_dir} has no whole checkpoint left; give --restart to train again from step 0"
        )
    for name in passed:
        shutil.rmtree(root / name, ignore_errors=True)
    if chosen is None and before.checkpoints:
        console.print("training starts over from step 0")
    return chosen


def _differences(old: Any, new: Any, where: str = "") -> dict[str, tuple[Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        olds, news = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
        found: dict[str, tuple[Any, Any]] = {}
        for key in {**olds, **news}:
            found |= _differences(olds.get(key), news.get(key), f"{where}.{key}" if where else key)
        return found
    return {} if cast(object, old) == cast(object, new) else {where: (old, new)}


class CatchingUp(WatermarkEvalCallback):
    """Makes an evaluation that a signal ended before its step's checkpoint was saved."""

    _stop: Stop | None = None

    def leave_for(self, stop: Stop) -> None:
        """Let a signal end an evaluation between two batches of answers."""
        self._stop = stop

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        if state.global_step:
            self.on_step_end(args, state, control, **kwargs)  # due there, or not

    def _talk(self, model: Any) -> Talk | None:
        return processes if processes.number() > 1 else None

    def evaluate_last(self, trainer: Any) -> None:
        """The evaluation of a training that had ended before it was cut off."""
        self._evaluate(trainer.state, self.final, {"model": trainer.model})
        if self._stop is not None and processes.number() > 1:
            self._stop.agree()

    def _together(self) -> AbstractContextManager[None]:
        return self._stop.together() if self._stop is not None else nullcontext()


class ResumableEval(CatchingUp):
    """Skips evaluations that are done, and goes on with one that was cut off.

    `known(step)` says whether a step's evaluation is done. What one that was cut off had answered
    is kept for these very weights: replayed steps give the same ones on a CPU, where nothing else
    has changed, and an accelerator sums in no fixed order. `paused` surrounds each one; `share`
    is called when a step's evaluation is there, made now or before, or left to a later attempt.
    Step 0 is found again by the run's name. The other processes answer a part: see `follow`.
    """

    def __init__(
        self,
        *args: Any,
        run_name: str,
        known: Callable[[int], bool],
        paused: Callable[[], AbstractContextManager[None]] = nullcontext,
        share: Callable[[], None] = lambda: None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._paused = paused
        self._share = share
        self.run = run_name
        self._known = known

    def _evaluate(self, state: Any, options: Any, kwargs: Any) -> None:
        with self._together(), sharded.whole(kwargs["model"]) as model:
            step = int(state.global_step)
            if self._known(step) or (self._stop and self._stop.asked):
                with leading(self._talk(model)):
                    pass  # nothing
            else:
                weights = [self.run, f"step {step}", fingerprint(model)]
                options = {**options, "weights": weights}
                interruptible = self._stop.evaluating() if self._stop else nullcontext(lambda: None)
                with self._paused(), interruptible as between:
                    all_options = {**options, "between": between}
                    super()._evaluate(state, all_options, {**kwargs, "model": model})
            self._share()


def fingerprint(model: Any) -> str:
    """SHA-256 of the weights that are trained."""
    import torch

    digest = hashlib.sha256()
    for parameter in model.parameters():
        if parameter.requires_grad:
            flat = parameter.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def finish_loaded(trainer: Any, folder: Path) -> None:
    """Load weights and state of the last step: `Trainer.train` would take one step more.

    It would also have put autocast around the model, which the evaluation is to meet as ever.
    """
    from transformers import TrainerState

    trainer._load_from_checkpoint(str(folder))
    if not sharded.is_sharded(trainer.model):
        trainer.model = trainer.accelerator.prepare_model(trainer.model, evaluation_mode=True)
    trainer.state = TrainerState.load_from_json(str(folder / "trainer_state.json"))


def complete(folder: Path) -> bool:
    """Whether a checkpoint is that of the training's last step."""
    state = json.loads((folder / "trainer_state.json").read_text("utf-8"))
    return state["global_step"] >= state["max_steps"]
