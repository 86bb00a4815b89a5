"""Stops a training that has diverged, before its checkpoint is saved. Mends nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NoReturn

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from wm_train.checkpoints import newest_whole
from wm_train.errors import WmTrainError

FACTOR = 10.0  # times the first line's loss, where no bound is given
LEAST = 1.0  # a loss below it counts as this much: noise about nearly nothing is no divergence


class DivergenceError(WmTrainError):
    """The loss, its gradient or a weight is no number any more, or the loss is above the bound."""

    exit_code = 4


class Divergence(TrainerCallback):
    """Raises `DivergenceError` at the first bad line of the log, or before an evaluation of NaN.

    There is a line before every checkpoint, with the mean loss since the last one and the norm of
    the last step's gradient: what was saved before the bad line is good. Trainer evaluates before
    it logs, so the trained weights are looked at before each evaluation, which is `every` steps and
    at the end. Place it before whatever evaluates.
    """

    def __init__(self, max_loss: float | None, every: int) -> None:
        self._bound = max_loss
        self._every = every

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        step = state.global_step
        if step % self._every and step < state.max_steps:
            return
        for name, weight in kwargs["model"].named_parameters():
            if weight.requires_grad and not bool(weight.isfinite().all()):
                self._stop(f"{name} is no number", args, state)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Stop at a loss or gradient that is no number, or at a loss above the bound."""
        if logs is None or "loss" not in logs:
            return
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not math.isfinite(loss):
            found = f"the loss is {loss}"
        elif not math.isfinite(norm):
            found = f"the gradient's norm is {norm}"
        elif loss > self._limit(state):
            found = f"the loss is {loss:.4g}, above {self._limit(state):.4g}"
        else:
            return
        self._stop(found, args, state)

    def _stop(self, found: str, args: TrainingArguments, state: TrainerState) -> NoReturn:
        good, _ = newest_whole(Path(str(args.output_dir)))
        saved = f"the last good checkpoint is {good}" if good else "no checkpoint was saved yet"
        raise DivergenceError(
            f"{found} at step {state.global_step:,}: training has diverged and was stopped; "
            f"{saved}; lower optim.learning_rate or loss.beta and train under another --name"
        )

    def _limit(self, state: TrainerState) -> float:
        """Given, or from the run's first line: a checkpoint has those of earlier attempts."""
        if self._bound is None:
            first = next(line["loss"] for line in state.log_history if "loss" in line)
            self._bound = FACTOR * max(LEAST, first)
        return self._bound
