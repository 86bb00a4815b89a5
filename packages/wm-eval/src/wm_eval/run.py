"""One evaluation from its dataset folder to its report. Holds no formula and no model code.

`evaluate` asks a model in memory; `evaluate_with` asks anything that answers requests.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import wm_prompts
from wm_eval import answers as answers_file
from wm_eval import items, metrics
from wm_eval.answers import Answer
from wm_eval.controls import run_controls
from wm_eval.errors import WmEvalError
from wm_eval.generator import Generator, Request
from wm_eval.items import COLOURS, Dataset, Item, seed_of
from wm_eval.judge import judge
from wm_eval.partial import Partial
from wm_eval.show import pick_samples, progress_bar
from wm_manifest import Decoding, EvalReport, ModelRef, TemplateRef, save

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_SIZE = 64
WORD_TOKENS = 8  # enough for the longest answer word and an end; a longer answer is a wrong one
PACKAGES = ("wm-eval", "wm-score", "wm-prompts", "wm-manifest", "torch", "transformers", "peft")


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dataset_dir: str | Path,
    *,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    temperature: float = 0.7,
    top_p: float = 0.8,
    top_k: int = 20,
    max_new_tokens: int | None = None,
    batch_size: int = BATCH_SIZE,
    step: int | None = None,
    out: str | Path | None = None,
    progress: bool = True,
    trained_with: str | Path | None = None,
    model_ref: ModelRef | None = None,
    weights: Sequence[str] | None = None,
) -> EvalReport:
    """Evaluate a loaded model on both tasks; write eval.json and samples.jsonl into `out` if given.

    The defaults of sampling are those of Qwen3's card for its non-thinking mode. `limit` takes the
    first so many prompts and texts, the same ones for the same seed. `max_new_tokens=None` allows
    half as much again as the longest gold answer of the split. `weights`, when it tells these
    weights from any others, makes an evaluation that was killed go on in `out`. Raises
    `WmEvalError`.
    """
    from wm_eval.hf import HFGenerator

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
    )
    return evaluate_with(
        HFGenerator(model, tokenizer, batch_size),
        data,
        decoding,
        model_ref or describe(model),
        limit=limit,
        step=step,
        out=out,
        progress=progress,
        trained_with=trained_with,
        chat_template=cast("str | None", tokenizer.chat_template),
        hardware=str(model.device),
        weights=weights,
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
    hardware: str = "",
    weights: Sequence[str] | None = None,
) -> EvalReport:
    """Ask, judge, measure, check, write.

    With `weights`, which tells the model's weights from any others, answers are kept in `out` as
    they come, and a killed evaluation of the same goes on where it was.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    template_sha256 = sha256(chat_template) if chat_template else None

    asked = [*data.watermark, *data.detect]
    partial = None
    if out is not None and weights is not None:
        asked_ids = [item.id for item in asked]
        what = (weights, data.sha256, asked_ids, decoding.model_dump(), template_sha256)
        partial = Partial(Path(out), [*what, hardware, versions()])
    answers = ask(generator, asked, decoding, progress, partial)
    figures = metrics.compute(answers)
    controls = run_controls(
        data, answers, template_sha256, Path(trained_with) if trained_with else None
    )

    report = EvalReport(
        model=model,
        dataset=data.manifest.name,
        dataset_sha256=data.sha256,
        split=data.split,
        limit=limit,
        step=step,
        decoding=decoding,
        codebook=data.manifest.codebook,
        templates=used_templates(data),
        chat_template_sha256=template_sha256,
        packages=versions(),
        hardware=f"{platform.machine()} {hardware}".strip(),
        started_at=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 3),
        figures=figures,
        controls=controls,
        valid=all(control.passed or not control.blocking for control in controls),
        samples=pick_samples(answers),
    )
    if out is not None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        answers_file.write(answers, folder / "samples.jsonl")
        save(report, folder / "eval.json")
    if partial is not None:
        partial.discard()
    return report


def ask(
    generator: Generator,
    asked: Sequence[Item],
    decoding: Decoding,
    progress: bool,
    partial: Partial | None = None,
) -> list[Answer]:
    """Every item answered once and judged, in the order of the items."""
    by_id = {item.id: item for item in asked}
    judged: dict[str, Answer] = dict(partial.answers) if partial else {}
    requests = [request(item, decoding) for item in asked]
    with progress_bar(len(asked), progress) as advance:
        advance(len(judged))
        for replies in generator.answer(requests, decoding, done=frozenset(judged)):
            found = {id: judge(by_id[id], reply) for id, reply in replies.items()}
            if partial is not None:
                partial.add(found.values())
            advance(len(found.keys() - judged.keys()))
            judged.update(found)
    return [judged[item.id] for item in asked]


def request(item: Item, decoding: Decoding) -> Request:
    """What the model is asked for one item."""
    detect = item.task == "detect"
    return Request(
        id=item.id,
        messages=item.messages,
        seed=seed_of(decoding.seed, item.id),
        max_new_tokens=WORD_TOKENS if detect else decoding.max_new_tokens,
        family=item.family,
        options=COLOURS if detect else (),
    )


def check_decoding(
    temperature: float, top_p: float, top_k: int, batch_size: int, max_new_tokens: int | None
) -> None:
    """Refuse what cannot be sampled with, by the name of the option."""
    bounds = (
        ("temperature", temperature, temperature >= 0, "at least 0 (0 is greedy)"),
        ("top_p", top_p, 0 < top_p <= 1, "above 0 and at most 1"),
        ("top_k", top_k, top_k >= 0, "at least 0 (0 switches it off)"),
        ("batch_size", batch_size, batch_size >= 1, "at least 1"),
        ("max_new_tokens", max_new_tokens, (max_new_tokens or 1) >= 1, "at least 1"),
    )
    for name, value, good, expected in bounds:
        if not good:
            raise WmEvalError(f"{name} is {value}; expected {expected}")


def answer_limit(tokenizer: PreTrainedTokenizerBase, gold: Sequence[str]) -> int:
    """Half as many tokens again as the longest gold answer has, and 16 more."""
    longest = max(
        len(ids) for ids in cast(Any, tokenizer)(list(gold), add_special_tokens=False)["input_ids"]
    )
    return longest * 3 // 2 + 16


def describe(model: PreTrainedModel) -> ModelRef:
    """A model in memory, as far as it says where it comes from."""
    config: Any = model.config
    return ModelRef(
        location=str(getattr(config, "_name_or_path", "") or "in memory"),
        model_type=str(config.model_type),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def model_ref(model: PreTrainedModel, location: str, adapter: str | None = None) -> ModelRef:
    """A model by the names that it was asked for under."""
    return describe(model).model_copy(update={"location": location, "adapter": adapter})


def used_templates(data: Dataset) -> list[TemplateRef]:
    """The templates behind the items: ours for watermark, the dataset's record for detect."""
    used = {f"watermark/{item.arm}/{item.variant}" for item in data.watermark}
    recorded = [t for t in data.manifest.templates if t.id.startswith("detect/")]
    asked = {item.variant for item in data.detect}
    return [
        TemplateRef(
            id=id,
            sha256=wm_prompts.sha256(id),
            text=wm_prompts.source(id),
            heldout=id.rpartition("/")[2].startswith(items.HELD_OUT),
        )
        for id in sorted(used)
    ] + [template for template in recorded if template.id.rpartition("/")[2] in asked]


def versions() -> dict[str, str]:
    """Versions of what can change a figure, and the interpreter's."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # an extra that is not installed
            continue
    return found


def sha256(text: str) -> str:
    """Of the text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
