"""What watches a run from inside the trainer: log lines, checkpoints, the progress bar."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from wm_train.journal import Journal
from wm_train.record import RunRecord
from wm_train.tracking import Tracker


class Watch(TrainerCallback):
    """Writes each log of the trainer to `log.jsonl` and W&B."""

    def __init__(self, journal: Journal, tracker: Tracker, record: RunRecord) -> None:
        self._journal = journal
        self._tracker = tracker
        self._record = record

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        values = dict(logs or {})
        if "loss" not in values:
            return  # the trainer's closing line: totals that the manifest has
        step = state.global_step
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


class Bar(TrainerCallback):
    """A progress bar on standard error: steps, loss, time left."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("training", total=None, loss="–")

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._progress.update(self._task, total=state.max_steps, completed=state.global_step)
        self._progress.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._progress.update(self._task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs and "loss" in logs:
            self._progress.update(self._task, loss=f"{logs['loss']:.3f}")

    def stop(self) -> None:
        self._progress.stop()
