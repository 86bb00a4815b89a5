"""Evaluates both tasks inside any `transformers.Trainer`. Leaves the training bit for bit as it is.

What is done with a report (manifest, logs, W&B) is the caller's: `on_report`.
"""

from __future__ import annotations

import copy
import uuid
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from wm_eval.preserve import preserved
from wm_eval.run import evaluate
from wm_eval.start import Start, answers_as_its_base
from wm_eval.together import Talk, World, help_evaluate, in_parts, leading, processes

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from wm_manifest import EvalReport


class WatermarkEvalCallback(TrainerCallback):
    """Evaluates before the first step, every `every` steps, and at the end.

    `start`, `during` and `final` are keyword arguments of `evaluate` for step 0, for the
    evaluations on the way and for the last one; others go to all. `start` defaults to `during`.
    Only the last one has the extras (see `evaluate`) unless it is asked otherwise. With `out`,
    step 0's answers are its base arm, if they are to the same questions: the base need not answer
    them again, and after a full fine-tune nobody else could. (Not where each process has a part of
    the weights.)

    `run` names the training, so that one which is resumed knows its step 0 again; without it an
    object knows its own alone, and no other's in a folder that is used twice.

    With `out`, reports are written to `out/step-000000` and so on. `every=0`: only before and
    after. All ranks answer, each a part, and the main one reports. Too little memory halves the
    batch, and in the end skips an evaluation with a warning: it never ends a training.
    """

    def __init__(
        self,
        dataset_dir: str | Path,
        *,
        every: int,
        on_report: Callable[[EvalReport], None],
        out: str | Path | None = None,
        at_start: bool = True,
        at_end: bool = True,
        start: Mapping[str, Any] | None = None,
        during: Mapping[str, Any] | None = None,
        final: Mapping[str, Any] | None = None,
        tokenizer: Any = None,
        run: str | None = None,
        **evaluate_kwargs: Any,
    ) -> None:
        self.dataset_dir = dataset_dir
        self.every = every
        self.on_report = on_report
        self.out = Path(out) if out is not None else None
        self.at_start, self.at_end = at_start, at_end
        self.start = {"extras": False, **evaluate_kwargs, **(start or during or {})}
        self.during = {"extras": False, **evaluate_kwargs, **(during or {})}
        self.final = {**evaluate_kwargs, **(final or {})}
        self.tokenizer = tokenizer
        self.run = run or uuid.uuid4().hex
        self._trained = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # A resumed training has its step 0 behind it.
        if self.at_start and state.global_step == 0:
            self._evaluate(state, self.start, kwargs)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._trained = True
        last = state.global_step >= state.max_steps
        if self.every and state.global_step % self.every == 0 and not (last and self.at_end):
            self._evaluate(state, self.during, kwargs)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.at_end:
            loaded = state.best_global_step if args.load_best_model_at_end else None
            if loaded is not None and loaded != state.global_step:  # the weights are that step's
                state = copy.copy(state)
                state.global_step = loaded
            self._evaluate(state, self.final, kwargs)

    def _evaluate(
        self, state: TrainerState, options: Mapping[str, Any], kwargs: Mapping[str, Any]
    ) -> None:
        model = kwargs["model"]
        tokenizer = self.tokenizer or kwargs["processing_class"]
        main = bool(state.is_world_process_zero)
        out = self.out / f"step-{state.global_step:06d}" if self.out and main else None
        settings: dict[str, Any] = {
            "progress": main,
            **options,
            "step": state.global_step,
            "out": out,
            "start": self._start(model, state.global_step) if out else None,
        }

        talk = self._talk(model)
        if talk is not None and not main:
            help_evaluate(model, tokenizer, talk, settings.get("base", "auto"))
            return
        report = None
        # Fewer answers at a time are tried before that: it is raised where not even one fits.
        with preserved(model, tokenizer), suppress(torch.OutOfMemoryError), leading(talk):
            report = evaluate(model, tokenizer, self.dataset_dir, talk=talk, **settings)
        if report is None:
            torch.cuda.empty_cache()
            warnings.warn(
                f"step {state.global_step}: not enough memory to evaluate even one answer at a "
                "time; evaluation skipped",
                stacklevel=2,
            )
        elif main:
            self.on_report(report)

    def _talk(self, model: Any) -> Talk | None:
        """How processes that train together answer a part each; None where they cannot.

        Where each has a part of the model, all must make the same passes: they answer everything.
        """
        return World() if processes() > 1 and not in_parts(model) else None

    def _start(self, model: Any, step: int) -> Start | None:
        """The evaluation before the first step, where there is one that the base may be read from.

        Where each process asks for itself, all have to ask the same, and not all see one folder.
        """
        alone = processes() == 1 or self._talk(model) is not None
        if self.out is None or not self.at_start or not alone:
            return None
        if step == 0 and (self._trained or not answers_as_its_base(model)):
            return None
        return Start(self.out / "step-000000", self.run)
