"""The base arm of a training's last evaluation: step 0's answers where they are right, else asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments

from wm_eval import WatermarkEvalCallback, answers, evaluate
from wm_eval.errors import WmEvalError
from wm_eval.hf import HFGenerator
from wm_eval.start import NAME, Start, answers_as_its_base
from wm_manifest import EvalReport, load

OPTIONS: dict[str, Any] = {"max_new_tokens": 6, "progress": False, "limit": 2, "batch_size": 4}
START = "step-000000"


@pytest.fixture
def lora(make_model: Callable[..., Any]) -> Callable[..., Any]:
    """A new LoRA on the model that `make_model()` gives; keywords change its configuration."""
    from peft import LoraConfig, get_peft_model

    def make(**changes: Any) -> Any:
        fields = {"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | changes
        torch.manual_seed(1)
        return get_peft_model(make_model(), LoraConfig(**fields))

    return make


@pytest.fixture
def train(
    tokenizer: Any, dataset_dir: Path, tmp_path: Path
) -> Callable[..., tuple[Any, EvalReport]]:
    """Two steps of `model` with the hook; what was trained and its last report."""

    def run(model: Any, hook: Any = None, **hook_options: Any) -> tuple[Any, EvalReport]:
        reports: list[EvalReport] = []
        options: dict[str, Any] = {"every": 0, "out": tmp_path / "eval", **OPTIONS, **hook_options}
        hook = hook or WatermarkEvalCallback(dataset_dir, on_report=reports.append, **options)
        hook.on_report = reports.append
        torch.manual_seed(5)
        rows = [{"input_ids": (ids := torch.randint(0, 256, (24,))), "labels": ids}] * 4
        args = TrainingArguments(
            output_dir=str(tmp_path / "run"),
            max_steps=2,
            per_device_train_batch_size=2,
            learning_rate=0.1,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        Trainer(
            model=model,
            args=args,
            train_dataset=rows,
            processing_class=tokenizer,
            callbacks=[hook],
        ).train()
        model.eval()
        return model, reports[-1]

    return run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the prompts that a model answers with its adapter off."""
    found: list[str] = []
    real = HFGenerator.answer

    def answer(self: HFGenerator, requests: Any, *args: Any, **kwargs: Any) -> Any:
        found.extend(request.id for request in requests if self.adapter_off)
        return real(self, requests, *args, **kwargs)

    monkeypatch.setattr(HFGenerator, "answer", answer)
    return found


def samples(folder: Path) -> bytes:
    return (folder / "samples.jsonl").read_bytes()


def texts(folder: Path, origin: str) -> list[str]:
    kept = answers.read(folder / "samples.jsonl")
    return [a.answer for a in answers.select(kept, "watermark", origin=origin)]


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("wm_eval")]


def test_step_0_gives_figure_for_figure_what_the_base_gives_when_it_is_asked(
    lora: Callable[..., Any],
    train: Callable[..., tuple[Any, EvalReport]],
    tokenizer: Any,
    dataset_dir: Path,
    tmp_path: Path,
    asked: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, report = train(lora())
    assert not asked
    again = evaluate(model, tokenizer, dataset_dir, out=tmp_path / "asked", **OPTIONS)
    assert len(asked) == 6, "two prompts in three arms"
    assert (report.base_answers, again.base_answers) == ("step 0", "asked")
    assert report.figures == again.figures
    assert report.base == again.base
    last = tmp_path / "eval/step-000002"
    assert samples(last) == samples(tmp_path / "asked")
    assert texts(last, "base") != texts(last, "seed"), "the training did nothing"
    assert "watermark/red/lift_over_base" in report.figures
    assert "watermark/red/base_ppl" in report.figures
    assert not complaints(caplog)
    assert load(EvalReport, last / "eval.json").base_answers == "step 0"


def change_answer(folder: Path) -> None:
    path = folder / "samples.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    lines[0]["answer"] += " a"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def cut(folder: Path) -> None:
    path = folder / "samples.jsonl"
    path.write_bytes(path.read_bytes()[:-40])


def of_another_training(folder: Path) -> None:
    path = folder / NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"run": "another"}))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (change_answer, "samples.jsonl is not as it was written"),
    "cut": (cut, "samples.jsonl is not as it was written"),
    "missing": (lambda folder: (folder / "samples.jsonl").unlink(), "has no samples.jsonl"),
    "unsealed": (lambda folder: (folder / NAME).unlink(), "has no start.json"),
    "torn seal": (lambda folder: (folder / NAME).write_text('{"run": "x'), "cannot be read"),
    "not of this training": (of_another_training, "of another training"),
}


@pytest.fixture
def begun(
    make_model: Callable[..., Any], tokenizer: Any, dataset_dir: Path, tmp_path: Path
) -> Callable[..., EvalReport]:
    """Evaluate one model at step 0, and give what evaluates it again as if at a later one."""
    model, start = make_model(), Start(tmp_path / START, "this training")

    def at(step: int, start: Start = start, **changes: Any) -> EvalReport:
        options = {**OPTIONS, "limit": 2, "max_new_tokens": 4, **changes}
        out = tmp_path / f"step-{step:06d}"
        return evaluate(model, tokenizer, dataset_dir, step=step, start=start, out=out, **options)

    at(0, extras=False)
    return at


def test_a_step_0_that_is_not_whole_is_refused(
    begun: Callable[..., EvalReport], tmp_path: Path
) -> None:
    asked = json.loads((tmp_path / START / NAME).read_text())["asked"]
    assert Start(tmp_path / START, "this training").answers(asked)
    for name, (damage, why) in DAMAGE.items():
        folder = tmp_path / name / START
        shutil.copytree(tmp_path / START, folder)
        damage(folder)
        with pytest.raises(WmEvalError, match=why):
            Start(folder, "this training").answers(asked)


CHANGES: list[dict[str, Any]] = [
    {"limit": 1},
    {"seed": 1},
    {"temperature": 0.5},
    {"max_new_tokens": 5},
    {"batch_size": 3},
]


def test_other_questions_than_those_of_step_0_are_not_answered_by_it(
    begun: Callable[..., EvalReport],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert begun(2).base_answers == "step 0"
    for change in CHANGES:
        assert begun(2, **change).base_answers is None, change
    monkeypatch.setattr("wm_eval.run.arithmetic", lambda model: ["torch.bfloat16", "cpu"])
    assert begun(2).base_answers is None
    assert len(complaints(caplog)) == len(CHANGES) + 1
    assert all("other prompts, or in other settings" in line for line in complaints(caplog))


def test_another_base_that_is_named_is_asked(
    begun: Callable[..., EvalReport], make_model: Callable[..., Any]
) -> None:
    assert begun(2, base=make_model(seed=9)).base_answers == "asked"
    assert begun(2, base=None).base_answers is None


class Damaged(WatermarkEvalCallback):
    """Changes an answer of step 0 before the first step."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0 and self.out:
            change_answer(self.out / START)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_training_whose_step_0_was_changed_says_so_and_goes_without(
    kind: str,
    lora: Callable[..., Any],
    make_model: Callable[..., Any],
    train: Callable[..., tuple[Any, EvalReport]],
    dataset_dir: Path,
    tmp_path: Path,
    asked: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    hook = Damaged(
        dataset_dir, every=0, on_report=lambda report: None, out=tmp_path / "eval", **OPTIONS
    )
    _, report = train(lora() if kind == "lora" else make_model(), hook)
    (line,) = complaints(caplog)
    assert "samples.jsonl is not as it was written" in line
    if kind == "lora":
        assert (report.base_answers, len(asked)) == ("asked", 6)
        assert line.endswith("; the base model is asked again")
    else:
        assert (report.base_answers, report.base) == (None, None)
        assert "watermark/red/lift_over_base" not in report.figures
        assert line.endswith("; this report has no base arm")


def test_an_adapter_that_was_trained_before_is_not_the_base(
    lora: Callable[..., Any],
    train: Callable[..., tuple[Any, EvalReport]],
    tmp_path: Path,
    asked: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = lora()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.normal_(std=0.5)
    _, report = train(model)
    assert (report.base_answers, len(asked)) == ("asked", 6)
    (line,) = complaints(caplog)
    assert "was not of the base model" in line
    below = texts(tmp_path / "eval/step-000002", "base")
    assert below != texts(tmp_path / "eval" / START, "seed")


def test_training_again_does_not_begin_at_the_base(
    make_model: Callable[..., Any],
    train: Callable[..., tuple[Any, EvalReport]],
    dataset_dir: Path,
    tmp_path: Path,
) -> None:
    hook = WatermarkEvalCallback(
        dataset_dir, every=0, on_report=lambda report: None, out=tmp_path / "eval", **OPTIONS
    )
    model, first = train(make_model(), hook)
    _, second = train(model, hook)
    assert (first.base_answers, second.base_answers) == ("step 0", None)


def test_a_full_fine_tune_has_its_lift_over_the_base(
    make_model: Callable[..., Any],
    train: Callable[..., tuple[Any, EvalReport]],
    tokenizer: Any,
    dataset_dir: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, report = train(make_model())
    assert not complaints(caplog)
    assert report.base_answers == "step 0"
    assert report.base is not None
    given = evaluate(
        model, tokenizer, dataset_dir, out=tmp_path / "given", base=make_model(), **OPTIONS
    )
    by_likelihood = {name for name in given.figures if "base_ppl" in name}
    assert {n: f for n, f in given.figures.items() if n not in by_likelihood} == report.figures
    assert "watermark/red/lift_over_base" in report.figures
    last = tmp_path / "eval/step-000002"
    assert texts(last, "base") == texts(tmp_path / "given", "base")
    assert texts(last, "base") != texts(last, "seed"), "the training did nothing"


def test_without_a_folder_or_a_step_0_all_is_as_it_was(
    lora: Callable[..., Any],
    train: Callable[..., tuple[Any, EvalReport]],
    tmp_path: Path,
    asked: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for options in ({"out": None}, {"at_start": False}):
        asked.clear()
        _, report = train(lora(), **options)
        assert (report.base_answers, len(asked)) == ("asked", 6)
    assert not complaints(caplog)


EMBEDDED = {"target_modules": ["embed_tokens", "q_proj"]}
ADAPTERS: dict[str, tuple[dict[str, Any], bool]] = {
    "new": ({}, True),
    "new, on the embedding too": (EMBEDDED, True),
    "with a copy of a layer": ({"modules_to_save": ["norm"]}, False),
    "with biases": ({"lora_bias": True, "target_modules": ["q_proj"]}, False),
    "with magnitudes": ({"use_dora": True}, False),
    "begun at random": ({"init_lora_weights": False}, False),
    "begun from the weights": ({"init_lora_weights": "pissa"}, False),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ADAPTERS)
def test_whether_an_adapter_leaves_the_base_as_it_is(name: str, lora: Callable[..., Any]) -> None:
    changes, expected = ADAPTERS[name]
    assert answers_as_its_base(lora(**changes)) is expected


def test_one_layer_that_is_not_zero_is_enough(lora: Callable[..., Any], model: Any) -> None:
    assert answers_as_its_base(model)
    adapted = lora()
    layer = adapted.base_model.model.model.layers[1].mlp.down_proj
    with torch.no_grad():
        layer.lora_B["default"].weight[3, 1] = 1e-30
    assert not answers_as_its_base(adapted)
    other = lora()
    other.add_adapter("second", other.peft_config["default"])
    assert not answers_as_its_base(other)
