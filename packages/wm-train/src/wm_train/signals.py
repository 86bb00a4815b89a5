"""SIGINT and SIGTERM while training: the first waits for a checkpoint, the second does not."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from wm_train import processes

EXIT_CODES = {signal.SIGTERM: 75, signal.SIGINT: 130}  # 75: EX_TEMPFAIL, try again


class Stopped(KeyboardInterrupt):
    """A signal ended the run. `exit_code` is what the process should end with."""

    def __init__(self, number: int) -> None:
        self.exit_code = EXIT_CODES[signal.Signals(number)]
        super().__init__(f"stopped by {signal.Signals(number).name}")


class Stop(TrainerCallback):
    """Turns a signal into a checkpoint at the end of the running step, then `Stopped`.

    Place it last: an evaluation that is due at that step is finished first.
    """

    def __init__(self) -> None:
        self._asked: int | None = None
        self._training = False

    @contextmanager
    def listening(self) -> Generator[None]:
        """Handle both signals here; those of before come back in the end."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        before = {number: signal.signal(number, self._on_signal) for number in EXIT_CODES}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked is not None or not self._training:
            raise Stopped(number)
        self._asked = number

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._training = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # A signal may reach processes in different steps, or only one of them.
        self._asked = processes.highest(self._asked or 0) or None
        if self._asked is not None:
            control.should_save = True
        # The mean since the last line is not part of a checkpoint: it ends with it.
        control.should_log |= control.should_save

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._asked is not None:
            raise Stopped(self._asked)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._training = False
