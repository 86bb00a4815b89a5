"""One evaluation from its dataset folder to its report. Holds no formula and no model code.

`evaluate` asks a model in memory; `evaluate_with` asks anything that answers requests.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wm_eval import controls as checks
from wm_eval import folder, items, metrics, prompting
from wm_eval.base_model import base_generator
from wm_eval.decoding import answer_limit, check_decoding
from wm_eval.gather import Source, gather
from wm_eval.generator import Generator
from wm_eval.partial import Partial, stamp
from wm_eval.progress import say
from wm_eval.question import Dataset
from wm_eval.record import arithmetic, describe, sha256, used_templates, versions, without_adapter
from wm_eval.rendered import dated, rendered_sha256
from wm_eval.samples import pick_samples
from wm_eval.start import Start
from wm_eval.together import BASE, MODEL, Talk, together
from wm_manifest import Decoding, EvalReport, ModelRef

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_SIZE = 64


def evaluate(
    model: PreTrainedModel | Generator,
    tokenizer: PreTrainedTokenizerBase,
    dataset_dir: str | Path,
    *,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    temperature: float = 0.7,
    top_p: float = 0.8,
    top_k: int = 20,
    detect: Literal["sampled", "greedy"] = "sampled",
    max_new_tokens: int | None = None,
    batch_size: int = BATCH_SIZE,
    step: int | None = None,
    out: str | Path | None = None,
    progress: bool = True,
    trained_with: str | Path | None = None,
    model_ref: ModelRef | None = None,
    weights: Sequence[str] | None = None,
    between: Callable[[], object] = lambda: None,
    extras: bool = True,
    base: PreTrainedModel | Generator | Literal["auto"] | None = "auto",
    base_ref: ModelRef | None = None,
    start: Start | None = None,
    talk: Talk | None = None,
) -> EvalReport:
    """Evaluate a loaded model on both tasks; write what `wm-eval --out` does into `out` if given.

    The defaults of sampling are those of Qwen3's card for its non-thinking mode; `detect` is how
    questions about texts are answered: sampled alike, or by the most likely word. `limit` takes the
    first so many prompts and texts, the same ones for the same seed. `max_new_tokens=None` allows
    half as much again as the longest gold answer of the split. `weights`, when it tells these
    weights from any others, makes an evaluation that was killed go on in `out`. `between` is called
    after each batch that is kept so: what it raises ends the evaluation, and loses nothing of it.

    `base` is asked the same prompts and weighs the answers; "auto" is the model with its adapter
    off, where it has one, and nothing otherwise. It must share the tokenizer. `extras=False` leaves
    out what costs more and changes no other figure: the base model, texts in length bands, and the
    model's own texts. Both may be a `Generator` instead, of another backend; then give `model_ref`.

    A model that is in training mode answers in evaluation mode, and is put back after it.

    `start`, inside a training, is its evaluation before the first step. At `step` 0 it is this one,
    which is kept as such; later on its answers are the base's, where they are whole and were given
    to the same questions: "auto" then asks the base for likelihoods alone. Raises `WmEvalError`.

    With `talk`, inside `wm_eval.leading(talk)`, other processes that have the model answer their
    part in `help_evaluate`; the report is that of one process.
    """
    from wm_eval.hf import HFGenerator
    from wm_eval.preserve import all_preserved

    check_decoding(temperature, top_p, top_k, batch_size, max_new_tokens)
    data = items.read(dataset_dir, split, limit, seed)
    if max_new_tokens is None:
        max_new_tokens = answer_limit(tokenizer, list(data.gold.values()))
    decoding = Decoding(
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        seed=seed,
        detect=detect,
    )
    with all_preserved([model, base], tokenizer):
        own = model if isinstance(model, Generator) else HFGenerator(model, tokenizer, batch_size)
        below = base_generator(model, tokenizer, batch_size, base) if extras else None
        return evaluate_with(
            together(own, MODEL, talk),
            data,
            decoding,
            model_ref or describe(model),
            base=below and together(below, BASE, talk),
            base_ref=base_ref,
            start=start if base == "auto" else None,
            arithmetic=arithmetic(model),
            extras=extras,
            limit=limit,
            step=step,
            out=out,
            progress=progress,
            trained_with=trained_with,
            chat_template=prompting.chat_template(tokenizer),
            prompts_sha256=rendered_sha256(tokenizer, [*data.watermark, *data.detect]),
            hardware=str(getattr(model, "device", "")),
            weights=weights,
            between=between,
        )


def evaluate_with(
    generator: Generator,
    data: Dataset,
    decoding: Decoding,
    model: ModelRef,
    *,
    limit: int | None = None,
    step: int | None = None,
    out: str | Path | None = None,
    progress: bool = True,
    trained_with: str | Path | None = None,
    chat_template: str | None = None,
    prompts_sha256: str = "",
    hardware: str = "",
    weights: Sequence[str] | None = None,
    between: Callable[[], object] = lambda: None,
    extras: bool = True,
    base: Generator | None = None,
    base_ref: ModelRef | None = None,
    start: Start | None = None,
    arithmetic: Sequence[str] = (),
) -> EvalReport:
    """Ask, judge, measure, check, write.

    With `weights`, which tells the model's weights from any others, answers are kept in `out` as
    they come, and a killed evaluation of the same goes on where it was; `between` is called after
    each batch of them. `prompts_sha256` is of the prompts as the model gets them, which a chat
    template may write otherwise on another day.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    template_sha256 = sha256(chat_template) if chat_template else None
    record = Path(trained_with) if trained_with else None
    controls = checks.of_data(data, template_sha256, record) + dated(chat_template)
    settings: dict[str, Any] = {
        "chat template": template_sha256,
        "prompts": prompts_sha256,
        "versions": versions(),
        # Its number is no setting: cuda:1 answers as cuda:0, where they are the same card.
        "device": [hardware.partition(":")[0], *arithmetic],
    }
    source = Source(
        model=generator,
        base=base,
        decoding=decoding,
        extras=extras,
        start=start,
        step=step,
        settings=settings,
    )
    partial = None
    if out is not None and weights is not None:
        partial = _kept(Path(out), weights, source, data, base_ref, between)
        say(partial.note, progress)
    found = gather(source, data, progress, partial)
    controls += checks.of_answers(found.answers)

    report = EvalReport(
        model=model,
        base=(base_ref or without_adapter(model)) if found.base else None,
        base_answers=found.base,
        dataset=data.manifest.name,
        dataset_sha256=data.sha256,
        split=data.split,
        limit=limit,
        step=step,
        decoding=decoding.model_copy(update={"batch_size": found.batch_size}),
        codebook=data.manifest.codebook,
        templates=used_templates(data),
        chat_template_sha256=template_sha256,
        packages=settings["versions"],
        hardware=f"{platform.machine()} {hardware}".strip(),
        precision="".join(arithmetic[:1]).removeprefix("torch.") or None,
        started_at=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 3),
        figures=metrics.compute(found.answers),
        controls=controls,
        valid=all(control.passed or not control.blocking for control in controls),
        samples=pick_samples(found.answers),
    )
    if out is not None:
        folder.write(report, found.answers, Path(out))
        if start is not None and step == 0:
            start.keep(source.questions_sha256(data))
    if partial is not None:
        partial.discard()
    return report


def _kept(
    out: Path,
    weights: Sequence[str],
    source: Source,
    data: Dataset,
    base_ref: ModelRef | None,
    between: Callable[[], object],
) -> Partial:
    """The file in `out` in which answers are kept as they come, and may be from before."""
    asked = {
        "weights": list(weights),
        "dataset": data.sha256,
        "items": [item.id for item in (*data.watermark, *data.detect)],
        "decoding": source.decoding.model_dump(),
        **source.settings,
    }
    named = [base_ref.model_dump(), *stamp(base_ref.location)] if base_ref else None
    return Partial(out, asked, named or source.base is not None, between)
