"""Which evaluation is the best so far, and whether to go on. Evaluates nothing, saves nothing."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from wm_data import Dataset
from wm_manifest import BestCheckpoint, Estimate, Evaluation
from wm_train.config import EarlyStopConfig
from wm_train.errors import ConfigError
from wm_train.record import RunRecord

Mode = Literal["max", "min"]
# Not what is reported: the first and the last evaluation are on the test split.
SPLIT = "validation"


@dataclass(frozen=True)
class Judgement:
    """`best` has the best value; `waited` counts evaluations since the last sure improvement."""

    best: Evaluation | None
    waited: int


def judge(evaluations: Iterable[Evaluation], metric: str, mode: Mode) -> Judgement:
    """Go through a run's evaluations on the `SPLIT`, in the order of their steps.

    The best one has the best value, the earlier of two equal ones. An improvement is sure when the
    whole 95 % interval lies beyond the value at the last sure one: what may be chance does not make
    a run longer, and slow progress adds up. An evaluation that is not valid, or has no such number,
    is neither.
    """
    best: Evaluation | None = None
    sign = 1 if mode == "max" else -1
    best_value, sure, waited = -math.inf, -math.inf, 0
    for evaluation in sorted(evaluations, key=lambda e: e.step):
        if evaluation.split != SPLIT:
            continue
        figure = evaluation.figures.get(metric) if evaluation.valid else None
        if figure is None or figure.value is None or not math.isfinite(figure.value):
            waited += 1
            continue
        value = sign * figure.value
        if value > best_value:
            best, best_value = evaluation, value
        if sign * _near_end(figure, mode) > sure:
            sure, waited = value, 0
        else:
            waited += 1
    return Judgement(best, waited)


def _near_end(figure: Estimate, mode: Mode) -> float:
    """The interval's end that is nearer to worse values; the value itself without an interval."""
    assert figure.value is not None
    end = figure.low if mode == "max" else figure.high
    return figure.value if end is None else end


def on_the_way(config: EarlyStopConfig, dataset: Dataset) -> dict[str, str]:
    """What evaluations between the first and the last are asked, beside what all are.

    Raises `ConfigError` where there is nothing to choose by.
    """
    if config.metric is None:
        return {}
    if not dataset.manifest.splits[SPLIT].rows:
        raise ConfigError(
            f"early_stop.metric chooses by the split {SPLIT}, of which {dataset.manifest.name} has "
            f"no rows: build it with a larger shares.{SPLIT}, or leave the metric out"
        )
    return {"split": SPLIT}


class EarlyStop(TrainerCallback):
    """Saves at each new best evaluation, and ends a training that no longer improves.

    Place it after the evaluation's callback. All of it follows from the manifest's evaluations up
    to the step, so that a resumed run decides as one that was never cut off. The training ends one
    step after the evaluation that decided: its last step is evaluated in full, as any last one.
    """

    def __init__(self, config: EarlyStopConfig, record: RunRecord, console: Console) -> None:
        self._config = config
        self._record = record
        self._console = console
        self._step = 0

    @property
    def best_step(self) -> int | None:
        """Step of the best evaluation so far."""
        found = self._judge().best if self._config.metric else None
        return found.step if found else None

    def _judge(self) -> Judgement:
        assert self._config.metric is not None
        # A run that was cut off may have evaluated steps that it has not reached again.
        known = [e for e in self._record.manifest.evaluations if e.step <= self._step]
        return judge(known, self._config.metric, self._config.mode)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._look(state, control)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._look(state, control)

    def _look(self, state: TrainerState, control: TrainerControl) -> None:
        self._step = step = state.global_step
        evaluations = self._record.manifest.evaluations
        metric, patience = self._config.metric, self._config.patience
        here = next((e for e in evaluations if e.step == step), None)
        if metric is None or here is None:
            return
        _check(metric, here)
        judged = self._judge()
        control.should_save |= judged.best is not None and judged.best.step == step > 0
        if patience is not None and judged.waited >= patience and state.max_steps > step + 1:
            self._console.print(f"step {step:,}: {_reason(metric, judged)}", soft_wrap=True)
            state.max_steps = step + 1

    def cause(self) -> str:
        """Why a training that is through has ended."""
        metric, patience = self._config.metric, self._config.patience
        if metric is None or patience is None:
            return "finished"
        evaluations = self._record.manifest.evaluations
        judged = judge([e for e in evaluations if e.step < self._step], metric, self._config.mode)
        stopped = judged.waited >= patience
        return f"finished; {_reason(metric, judged)}" if stopped else "finished"

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.name_best(state.global_step)

    def name_best(self, step: int) -> None:
        """Write the best checkpoint up to `step` into the manifest, if it is on the disk."""
        self._step = step
        best = self._judge().best if self._config.metric else None
        if best is None or self._config.metric is None:
            return
        path = f"checkpoints/checkpoint-{best.step}"
        if self._record.has(path):
            named = BestCheckpoint(
                step=best.step,
                path=path,
                metric=self._config.metric,
                mode=self._config.mode,
                figure=best.figures[self._config.metric],
            )
            self._record.update(best=named)


def _reason(metric: str, judged: Judgement) -> str:
    return f"stopped early: no sure improvement of {metric} in {judged.waited} evaluations"


def _check(metric: str, evaluation: Evaluation) -> None:
    """`ConfigError` when an evaluation has no such figure."""
    if metric in evaluation.figures or not evaluation.figures:
        return
    near = difflib.get_close_matches(metric, evaluation.figures, n=1, cutoff=0.3)
    raise ConfigError(
        f"early_stop.metric {metric!r} is no figure of the evaluation of step {evaluation.step}"
        + (f"; did you mean {near[0]}?" if near else "")
        + "; log.jsonl has all of them"
    )
