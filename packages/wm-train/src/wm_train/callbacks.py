"""What records a run from inside the trainer: log lines and checkpoints. Shows nothing."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from wm_train.journal import Journal
from wm_train.record import RunRecord
from wm_train.speed import Speed
from wm_train.tracker import Tracker


class Watch(TrainerCallback):
    """Writes each log of the trainer to `log.jsonl` and W&B."""

    def __init__(self, journal: Journal, tracker: Tracker, record: RunRecord, speed: Speed) -> None:
        self._journal = journal
        self._tracker = tracker
        self._record = record
        self._speed = speed
        self._logged = 0  # step of the last line

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._logged = state.global_step
        attempt = len(self._record.manifest.attempts)
        self._journal.write("start", state.global_step, attempt=attempt, steps=state.max_steps)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write a line of training, and show the pace to the callbacks after this one."""
        if logs is None or "loss" not in logs:
            return  # the trainer's closing line: totals that the manifest has
        step = state.global_step
        # Into the trainer's own dictionary: the callbacks after this one show it.
        logs |= self._speed.take(logs.get("tokens/computed", 0.0), step - self._logged)
        self._logged, values = step, dict(logs)
        if control.should_save:
            self._speed.stop()  # a checkpoint comes next
        self._journal.write("train", step, **values)
        self._tracker.log({"train/step": step} | {f"train/{k}": v for k, v in values.items()})

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        self._record.checkpoints()
        self._journal.write("checkpoint", state.global_step)
