"""The hook evaluates at the right steps and leaves the training bit for bit as it was."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

from wm_eval import WatermarkEvalCallback
from wm_eval.preserve import answers_bare, preserved, trim_heap
from wm_manifest import EvalReport

STEPS = 4


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_memory_that_was_freed_goes_back_to_the_system() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    # Below what glibc takes from the system block by block, with something behind that stays.
    blocks = [torch.ones(16_000) for _ in range(3_000)]
    kept = blocks[-1]
    held = resident()
    del blocks
    trim_heap()
    assert resident() < held - 100_000_000
    assert kept.sum() == 16_000


def train(
    make_model: Callable[..., Any],
    tokenizer: Any,
    out: Path,
    callback: Any = None,
    bf16: bool = False,
) -> dict[str, torch.Tensor]:
    """A few steps with dropout, so that a random number taken away would show in the weights."""
    torch.manual_seed(5)
    model = make_model(attention_dropout=0.3)
    rows = [{"input_ids": (ids := torch.randint(0, 256, (24,))), "labels": ids} for _ in range(16)]
    args = TrainingArguments(
        output_dir=str(out),
        max_steps=STEPS,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        seed=11,
        use_cpu=True,
        bf16=bf16,
        logging_strategy="no",
    )
    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=rows,
        processing_class=tokenizer,
        callbacks=[callback] if callback else [],
    )
    trainer.train()
    return {name: value.clone() for name, value in model.state_dict().items()}


def hook(dataset_dir: Path, reports: list[EvalReport], **kwargs: Any) -> WatermarkEvalCallback:
    return WatermarkEvalCallback(
        dataset_dir,
        **{"every": 2, "on_report": reports.append, "max_new_tokens": 6, "progress": False}
        | kwargs,
    )


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
def test_weights_are_bit_equal_with_and_without_the_hook(
    make_model: Callable[..., Any], tokenizer: Any, dataset_dir: Path, tmp_path: Path, bf16: bool
) -> None:
    """In bfloat16 the hook takes autocast off for an evaluation, and has to put it back."""
    reports: list[EvalReport] = []
    plain = train(make_model, tokenizer, tmp_path / "a", bf16=bf16)
    callback = hook(dataset_dir, reports, during={"limit": 2}, final={"limit": 4}, every=1)
    hooked = train(make_model, tokenizer, tmp_path / "b", callback, bf16)
    assert len(reports) == STEPS + 1
    for name, value in plain.items():
        assert torch.equal(value, hooked[name]), name


def test_the_last_report_is_of_the_step_whose_weights_were_loaded(
    make_model: Callable[..., Any], tokenizer: Any, dataset_dir: Path, tmp_path: Path
) -> None:
    """With `load_best_model_at_end` they are not those of the last step."""
    state = TrainerState(global_step=STEPS, max_steps=STEPS, best_global_step=2)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), report_to=[], use_cpu=True, load_best_model_at_end=True,
        eval_strategy="steps", eval_steps=2, save_steps=2,
    )  # fmt: skip
    reports: list[EvalReport] = []
    callback = hook(dataset_dir, reports, limit=1, extras=False, tokenizer=tokenizer)
    callback.on_train_end(arguments, state, TrainerControl(), model=make_model())
    assert [report.step for report in reports] == [2]
    assert state.global_step == STEPS


def test_reports_come_at_the_start_every_n_steps_and_once_at_the_end(
    make_model: Callable[..., Any], tokenizer: Any, dataset_dir: Path, tmp_path: Path
) -> None:
    reports: list[EvalReport] = []
    callback = hook(
        dataset_dir, reports, during={"limit": 2}, final={"limit": 4}, out=tmp_path / "eval"
    )
    train(make_model, tokenizer, tmp_path / "run", callback)
    assert [(r.step, r.limit) for r in reports] == [(0, 2), (2, 2), (4, 4)]
    assert sorted(path.name for path in (tmp_path / "eval").iterdir()) == [
        "step-000000",
        "step-000002",
        "step-000004",
    ]
    first, last = reports[0].figures, reports[-1].figures
    assert first.keys() == last.keys()


def test_too_little_memory_halves_the_batch_and_never_ends_training(
    make_model: Callable[..., Any],
    tokenizer: Any,
    dataset_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from wm_eval import hf

    real = hf.HFGenerator._advance

    def needs_memory(largest: int) -> Any:
        def advance(self: Any, *args: Any) -> Any:
            if self.batch_size > largest:
                raise torch.OutOfMemoryError("no memory")
            return real(self, *args)

        return advance

    reports: list[EvalReport] = []
    monkeypatch.setattr(hf.HFGenerator, "_advance", needs_memory(3))
    train(make_model, tokenizer, tmp_path / "a", hook(dataset_dir, reports, limit=1, batch_size=8))
    assert {report.decoding.batch_size for report in reports} == {2}

    reports.clear()
    monkeypatch.setattr(hf.HFGenerator, "_advance", needs_memory(0))
    with pytest.warns(UserWarning, match="not enough memory"):
        train(make_model, tokenizer, tmp_path / "b", hook(dataset_dir, reports, limit=1))
    assert not reports


def test_modes_random_states_and_flags_are_put_back(model: Any, tokenizer: Any) -> None:
    model.train()
    model.model.layers[0].eval()  # a part frozen in evaluation mode stays so
    model.config.use_cache = False
    tokenizer.padding_side = "right"
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    with preserved(model, tokenizer):
        assert not any(module.training for module in model.modules())
        torch.rand(3)
        random.random()
        np.random.rand(3)
        model.config.use_cache = True
        tokenizer.padding_side = "left"
    assert model.training
    assert not model.model.layers[0].training
    assert model.model.layers[1].training
    assert model.config.use_cache is False
    assert tokenizer.padding_side == "right"
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])


@pytest.mark.parametrize(
    ("device", "dtype", "four_bit", "bare"),
    [
        ("cpu", torch.float32, False, True),
        (
            "cuda",
            torch.float32,
            False,
            False,
        ),  # float32 without autocast takes several times as long
        ("cuda", torch.bfloat16, False, True),
        ("cuda", torch.bfloat16, True, False),  # its norms are float32 and its head is not
    ],
)
def test_autocast_is_taken_off_where_the_model_answers_without(
    device: str, dtype: torch.dtype, four_bit: bool, bare: bool
) -> None:
    model = SimpleNamespace(device=torch.device(device), dtype=dtype, is_loaded_in_4bit=four_bit)
    assert answers_bare(model) == bare


def test_weights_in_four_bits_are_not_packed_anew_in_an_evaluation(
    model: Any, tokenizer: Any
) -> None:
    """Wm-train has the layers themselves in its tests."""
    head = model.get_output_embeddings()
    head.support_avx512bf16_for_cpu = True
    with preserved(model, tokenizer):
        assert not head.support_avx512bf16_for_cpu
    assert head.support_avx512bf16_for_cpu


@pytest.mark.parametrize(("trained", "evaluated"), [("flex_attention", "sdpa"), ("eager", "eager")])
def test_attention_that_is_compiled_for_each_shape_makes_way(
    model: Any, tokenizer: Any, trained: str, evaluated: str
) -> None:
    model.config._attn_implementation = trained
    with preserved(model, tokenizer):
        assert model.config._attn_implementation == evaluated
    assert model.config._attn_implementation == trained
