"""SIGINT and SIGTERM while training: the first waits for a checkpoint, the second does not."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from wm_train import processes
from wm_train.pace import Pace, Part

# 75: EX_TEMPFAIL, try again. SIGHUP: the terminal is gone, as when a connection breaks.
EXIT_CODES = {signal.SIGTERM: 75, signal.SIGHUP: 75, signal.SIGINT: 130}

UNTIL: dict[Part | None, str] = {
    "step": "the running step is over and its checkpoint is saved",
    "answers": "the running batch of the evaluation is over and its step has a checkpoint",
    "checkpoint": "the checkpoint is saved",
    None: "the running step is over and its checkpoint is saved",
}


class Stopped(KeyboardInterrupt):
    """A signal ended the run. `exit_code` is what the process should end with."""

    def __init__(self, number: int, agreed: bool = True) -> None:
        self.exit_code = EXIT_CODES[signal.Signals(number)]
        self.agreed = agreed  # all processes stop here, and not this one alone
        super().__init__(f"stopped by {signal.Signals(number).name}")


class _Left(BaseException):
    """An evaluation ends after a batch: a signal came. To nothing on the way it is a fault."""


def _is_heard(number: int) -> bool:
    return signal.getsignal(number) is not signal.SIG_IGN


def announcement(number: int, pace: Pace) -> str:
    """The line at the first signal: what is waited for, and for how long."""
    wait = pace.wait_s()
    seconds = "" if wait is None else f", about {wait:.1f} s by the longest until now"
    name = signal.Signals(number).name
    return f"{name}: stops when {UNTIL[pace.part]}{seconds}; send it again to stop at once"


class Stop(TrainerCallback):
    """Turns a signal into a checkpoint at the end of the running step, then `Stopped`.

    Place it last. An evaluation that is due at that step is not begun, one that goes on is left
    after the running batch of answers; both are made when the run is resumed. So the wait is for a
    step or a batch, and a checkpoint. Outside of training (while a run is prepared, in the
    evaluation before the first step) a signal stops at once; of several processes, an evaluation is
    left at their next meeting. `say` gets a line at the first
    signal, in another thread.
    """

    def __init__(self, say: Callable[[str], object] = lambda line: None) -> None:
        self._say = say
        self._asked: int | None = None
        self._training = False
        self._together = False
        self._pace = Pace()

    @contextmanager
    def listening(self) -> Generator[None]:
        """Handle the signals here; those of before come back in the end."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        # nohup ignores SIGHUP, and so it stays.
        heard = [n for n in EXIT_CODES if n != signal.SIGHUP or _is_heard(n)]
        before = {number: signal.signal(number, self._on_signal) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP and self._asked is not None:
            return  # it comes from the kernel and from the shell: twice, and nobody insists
        if self._asked is not None or not (self._training or self._together):
            raise Stopped(number, agreed=False)
        self._asked = number
        # In a thread: what the signal came into may hold the lock of the console, or of a stream.
        _thread.start_new_thread(self._say, (announcement(number, self._pace),))

    @property
    def asked(self) -> bool:
        """Whether a signal came, and what has not begun yet is left to the next attempt."""
        return self._asked is not None

    @contextmanager
    def together(self) -> Generator[None]:
        """Surrounds what several processes do together: one that left would keep the others."""
        before, self._together = self._together, processes.number() > 1
        try:
            yield
        finally:
            self._together = before

    def agree(self) -> None:
        """Raise `Stopped` in all processes, if a signal came to any of them."""
        self._asked = processes.highest(self._asked or 0) or None
        if self._asked is not None:
            raise Stopped(self._asked)

    @contextmanager
    def evaluating(self) -> Generator[Callable[[], None]]:
        """Surrounds an evaluation, which calls what it is given after each batch of answers."""

        def between() -> None:
            self._pace.begin("answers")
            if self.asked:
                raise _Left

        self._pace.begin("answers")
        try:
            yield between
        except _Left:
            pass
        finally:
            self._pace.begin(None)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._training = True
        if processes.number() > 1:  # the evaluation before the first step was left for it
            self.agree()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._pace.begin("step")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # A signal may reach processes in different steps, or only one of them.
        self._asked = processes.highest(self._asked or 0) or None
        if self._asked is not None:
            control.should_save = True
        # The mean since the last line is not part of a checkpoint: it ends with it.
        control.should_log |= control.should_save
        self._pace.begin("checkpoint" if control.should_save else None)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._pace.begin(None)
        if self._asked is not None:
            raise Stopped(self._asked)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._training = False
        self.agree()  # in the last evaluation; the last checkpoint is there
