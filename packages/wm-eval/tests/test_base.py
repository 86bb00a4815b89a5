"""The base model beside the model: lift over it, perplexity under it, the adapter on again after."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from wm_eval import answers, evaluate, items
from wm_eval.asking import request
from wm_eval.compare import compare
from wm_eval.generator import Continuation, Likelihood, Reply, Request
from wm_eval.hf import HFGenerator
from wm_manifest import Decoding, EvalReport

RED_TEXT = " ".join(["Hi you"] * 10)
NUMBERS = {
    **{
        f"watermark/{colour}/{name}": 12
        for colour in ("red", "blue")
        for name in ("success", "success/sound", "natural_stop", "lift")
    },
    "detect/accuracy": 96,
    "detect/both_orders": 48,
}
NLL = {"red": 3.0, "blue": 2.0, "neutral": 1.0}


def arm(id: str) -> str:
    return id.rpartition("/")[2]


def test_lift_and_perplexity_over_a_scripted_base(run_script: Callable[..., EvalReport]) -> None:
    """The model is right on red alone; every second base answer is red too, whatever was asked."""
    order: list[str] = []

    def base(request: Request) -> str:
        order.append(request.id)
        return RED_TEXT if order.index(request.id) // 3 % 2 else "Hi"

    def likelihood(one: Continuation) -> Likelihood:
        assert one.messages[0]["content"] == plain[one.id.split("/")[1]]
        return Likelihood(log_likelihood=-NLL[arm(one.id)] * 7, tokens=7)

    data: dict[str, list[str]] = {}
    plain: dict[str, str] = {}

    def model(request: Request) -> str:
        if request.id.startswith("watermark/") and arm(request.id) == "neutral":
            plain[request.id.split("/")[1]] = request.messages[0]["content"]
        data.setdefault(request.id, []).append("asked")
        return RED_TEXT if arm(request.id) == "red" else "red"

    figures = run_script(model, base=(base, likelihood)).figures
    assert sorted(order) == sorted(f"base/{id}" for id in data if id.startswith("watermark/"))
    expected = {
        "watermark/red/base_success": 0.5,
        "watermark/red/lift_over_base": 0.5,
        "watermark/blue/base_success": 0,
        "watermark/blue/lift_over_base": 0,
        "watermark/red/base_ppl": math.e**3,
        "watermark/neutral/base_ppl": math.e,
        "watermark/red/base_ppl_ratio": math.e**2,
        "watermark/blue/base_ppl_ratio": math.e,
    }
    assert {name: figures[name].value for name in expected} == pytest.approx(expected)
    assert figures["watermark/red/lift_over_base"].n == 12
    assert (figures["watermark/red/base_ppl"].low or 0) == pytest.approx(math.e**3)


def test_an_empty_answer_has_no_perplexity_and_n_says_so(
    run_script: Callable[..., EvalReport],
) -> None:
    def likelihood(one: Continuation) -> Likelihood:
        empty = not one.answer
        return Likelihood(0.0 if empty else -4.0, 0 if empty else 2)

    def silent_when_blue(request: Request) -> Reply | str:
        return "" if arm(request.id) == "blue" else RED_TEXT

    figures = run_script(silent_when_blue, base=(lambda r: RED_TEXT, likelihood)).figures
    assert figures["watermark/red/base_ppl"].value == pytest.approx(math.e**2)
    assert "watermark/blue/base_ppl" not in figures
    assert "watermark/blue/base_ppl_ratio" not in figures
    assert figures["watermark/blue/lift_over_base"].value == 0


def test_likelihoods_are_those_of_a_plain_forward_pass(
    make_model: Callable[..., Any], tokenizer: Any, dataset_dir: Path, plain_likelihood: Any
) -> None:
    model = make_model(seed=3)
    asked = [
        Continuation(item.id, item.messages, item.text[: 10 + 7 * nth] if nth else "")
        for nth, item in enumerate(items.read(dataset_dir, limit=3).watermark)
    ]
    for batch in (1, 4):
        found: dict[str, Likelihood] = {}
        for part in HFGenerator(model, tokenizer, batch).likelihoods(asked):
            found |= part
        for one in asked:
            plain = plain_likelihood(model, one)
            assert found[one.id].tokens == plain.tokens
            assert found[one.id].log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-3)


@pytest.fixture
def adapted(make_model: Callable[..., Any]) -> Any:
    """A LoRA whose weights do something, on the model that `make_model()` gives."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    model: Any = get_peft_model(
        make_model(), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.normal_(std=0.5)
    return model.eval()


def test_the_base_of_an_adapter_is_the_same_weights_without_it(
    adapted: Any, make_model: Callable[..., Any], tokenizer: Any, dataset_dir: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"max_new_tokens": 6, "progress": False, "limit": 4}
    frozen = {name: p.requires_grad for name, p in adapted.named_parameters()}
    report = evaluate(adapted, tokenizer, dataset_dir, out=tmp_path / "with", **options)
    evaluate(make_model(), tokenizer, dataset_dir, out=tmp_path / "base", **options)
    kept = answers.read(tmp_path / "with" / "samples.jsonl")
    alone = {a.id: a for a in answers.read(tmp_path / "base" / "samples.jsonl")}
    below = [a for a in kept if a.origin == "base"]
    assert len(below) == 12
    for answer in below:
        assert answer.answer == alone[answer.id.removeprefix("base/")].answer
    assert [a.answer for a in below] != [a.answer for a in kept[:12]], "the adapter does nothing"
    assert report.figures["watermark/red/base_ppl"].n == 4
    assert report.base is not None
    assert {name: p.requires_grad for name, p in adapted.named_parameters()} == frozen
    again = evaluate(adapted, tokenizer, dataset_dir, **options)
    assert again.figures == report.figures, "the adapter was left off"


@pytest.mark.parametrize(("steps", "weighings"), [(10, 0), (13, 1), (99, 0), (99, 2)])
def test_killed_while_the_base_is_asked_it_ends_in_the_same_report(
    steps: int,
    weighings: int,
    adapted: Any,
    tokenizer: Any,
    dataset_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Killed(BaseException):
        """Nothing in the evaluation catches it."""

    def run(out: Path) -> EvalReport:
        return evaluate(
            adapted,
            tokenizer,
            dataset_dir,
            out=out,
            weights=["these"],
            max_new_tokens=6,
            batch_size=4,
            limit=8,
            progress=False,
        )

    whole = run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        for name, most in (("_advance", steps), ("_weigh", weighings)):
            real, left = getattr(HFGenerator, name), [most]

            def limited(self: Any, *args: Any, real: Any = real, left: list[int] = left) -> Any:
                if not left[0]:
                    raise Killed
                left[0] -= 1
                return real(self, *args)

            patch.setattr(HFGenerator, name, limited)
        with pytest.raises(Killed):
            run(tmp_path / "e")
    again = run(tmp_path / "e")
    times = {"started_at", "seconds"}
    assert again.model_dump(exclude=times) == whole.model_dump(exclude=times)
    samples = [(tmp_path / name / "samples.jsonl").read_bytes() for name in ("whole", "e")]
    assert samples[0] == samples[1]


def test_the_base_gets_the_random_numbers_of_what_it_is_compared_with(
    dataset_dir: Path, decoding: Decoding
) -> None:
    import dataclasses

    item = items.read(dataset_dir, limit=1).watermark[0]
    below = dataclasses.replace(item, id=f"base/{item.id}")
    assert request(below, decoding).seed == request(item, decoding).seed


def test_what_the_base_and_the_own_texts_answered_is_not_compared(
    run_script: Callable[..., EvalReport], gold: Callable[[Request], str], tmp_path: Path
) -> None:
    """A base that is always wrong beside a model that is always right: B is still as good as A."""
    run_script(gold, out=tmp_path / "a", extras=False)
    weigh = (lambda request: "Hi", lambda one: Likelihood(-1.0, 1))
    run_script(gold, out=tmp_path / "b", base=weigh)
    for found in compare(tmp_path / "a", tmp_path / "b"):
        assert (found.a, found.b) == (1, 1), found.name
    for found in compare(tmp_path / "b", tmp_path / "b"):
        assert (found.a, found.difference.n) == (1, NUMBERS[found.name]), found.name
