"""What a training shows while it runs: a live board on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from wm_manifest import EvalReport
from wm_train.speed import Speed
from wm_train.summary import NEUTRAL_LOSS, TASKS, duration, headline, parts

LINE_EVERY_S = 30.0  # without a terminal: a log is read later, and not step by step


class Board(TrainerCallback):
    """Steps, loss parts of each task, tokens a second, MFU, time left, last evaluation.

    `paused` is for an evaluation, which shows a bar of its own and is no time of training.
    """

    def __init__(self, console: Console, speed: Speed, line_every_s: float = LINE_EVERY_S) -> None:
        self._console = console
        self._speed = speed
        self._line_every_s = line_every_s
        self._live: Live | None = None
        self._values: Mapping[str, Any] = {}
        self._evaluation = ""
        self._evaluating_s = 0.0  # on the way
        self._last_s = 0.0  # at the end: as long as before the first step, on the same items
        self._every = 0
        self._step, self._steps = 0, 0
        self._printed: float | None = None

    def evaluated(self, report: EvalReport, every: int) -> None:
        """Note an evaluation, which is made every so many steps."""
        self._evaluation = headline(report)
        self._evaluating_s, self._every = report.seconds or 0.0, every
        if report.step == 0 or not self._last_s:
            self._last_s = self._evaluating_s

    @contextmanager
    def paused(self) -> Generator[None]:
        """Take the board off the screen and stop the clock."""
        live = self._live
        if live is not None:
            live.stop()
        with self._speed.paused():
            yield
        if live is not None:
            live.start(refresh=True)

    def stop(self) -> None:
        """Take the board off for good."""
        self._speed.stop()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._step, self._steps = state.global_step, state.max_steps
        if self._console.is_terminal:
            self._live = Live(get_renderable=self.render, console=self._console, transient=True)
            self._live.start()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._speed.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._step = state.global_step

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        self._values = dict(logs)
        now = time.monotonic()
        due = self._printed is None or now - self._printed >= self._line_every_s
        if not self._console.is_terminal and (due or state.global_step >= state.max_steps):
            self._printed = now
            self._console.print(self._line(), highlight=False, soft_wrap=True)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.stop()

    # ------------------------------------------------------------------------------------- drawing
    def render(self) -> RenderableType:
        """The board as it is now."""
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=max(self._steps, 1), completed=self._step, width=30)
        head.add_row(bar, f"step {self._step:,} of {self._steps:,}", *self._pace())
        rows = Table.grid(padding=(0, 2))
        for label, text in self._parts():
            rows.add_row(Text(label, "bold"), text)
        if self._evaluation:
            rows.add_row(Text("evaluation", "bold"), self._evaluation)
        return Group(head, rows)

    def _line(self) -> str:
        tasks = [f"{label}: {text}" for label, text in self._parts()]
        return f"step {self._step:,} of {self._steps:,}: {'; '.join([*tasks, *self._pace()])}"

    def _parts(self) -> list[tuple[str, str]]:
        if not self._values:
            return []
        loss = [("loss", f"{self._values['loss']:.3f}")]
        found = [(label, parts(self._values, f"{task}/")) for task, label in TASKS.items()]
        if NEUTRAL_LOSS in self._values:
            found.append(("not asked", f"off the base {self._values[NEUTRAL_LOSS]:.3f}"))
        return loss + [(label, text) for label, text in found if text]

    def _pace(self) -> list[str]:
        """Tokens a second, MFU, and the time left with the evaluations that are to come."""
        values, out = self._values, list[str]()
        if "tokens/per_second" in values:
            out.append(f"{values['tokens/per_second']:,.0f} tokens/s")
        if "mfu" in values:
            out.append(f"MFU {100 * values['mfu']:.1f} %")
        if "step_seconds" in values:
            left = self._steps - self._step
            on_the_way = max(0, left - 1) // self._every if self._every else 0
            evaluating = on_the_way * self._evaluating_s + self._last_s
            out.append(f"about {duration(left * values['step_seconds'] + evaluating)} left")
        return out
