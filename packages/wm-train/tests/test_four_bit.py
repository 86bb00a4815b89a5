"""QLoRA on this processor, with bitsandbytes itself: gradients, evaluations, a run and its resume."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
import yaml
from bitsandbytes.nn import Linear4bit
from rich.console import Console
from torch import Tensor

import wm_data
from wm_eval import load_model
from wm_eval.preserve import preserved
from wm_manifest import EvalReport, RunManifest, load
from wm_publish.merge import merge
from wm_train import (
    base,
    engine,
    estimate,
    examples,
    journal,
    references,
    run,
    shapes,
    sharing,
    summary,
)
from wm_train.config import TrainConfig
from wm_train.signals import Stop

pytestmark = pytest.mark.usefixtures("no_pictures")

Make = Callable[..., TrainConfig]
ENDS = ["all-linear", "lm_head", "embed_tokens"]
MODEL = {"four_bit": True, "lora": {"r": 2, "alpha": 4, "targets": ENDS}}


def loaded(config: TrainConfig, base_dir: Path) -> tuple[Any, Any]:
    model, tokenizer, _ = base.load(config.model, str(base_dir))
    return model, tokenizer


def numbers(layer: Linear4bit) -> Tensor:
    state = layer.weight.quant_state
    return bitsandbytes.functional.dequantize_4bit(layer.weight.data, state).float()


def layers(model: Any) -> list[Linear4bit]:
    return [module for module in model.modules() if isinstance(module, Linear4bit)]


def training(config: TrainConfig, folder: Path, model: Any, tokenizer: Any) -> Any:
    """A trainer whose adapter has been trained a little: PEFT's own begins at zero."""
    rows = wm_data.read(config.data.path or Path()).examples("train")
    pairs = examples.tokenize(rows, tokenizer, 512, 6, neutral_share=1.0)
    trainer = engine.build(config, folder, model, tokenizer, pairs.data, [])
    torch.manual_seed(1)
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name or "lora_embedding_A" in name:
            parameter.data.normal_(std=0.02)
    references.attach(trainer)
    return trainer


def gradients(trainer: Any) -> dict[str, Tensor]:
    trainer.model.train()
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader()))).backward()
    trained = {n: p for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
    return {name: p.grad.clone() for name, p in trained.items()}


def test_a_step_is_that_of_the_same_numbers_unpacked(
    tiny: Make, base_dir: Path, tmp_path: Path
) -> None:
    neutral = {"neutral": {"weight": 1.0}}
    packed, tokenizer = loaded(tiny(model=MODEL, loss=neutral), base_dir)
    ordinary = tiny(model={**MODEL, "four_bit": False}, loss=neutral)
    plain, _ = loaded(ordinary, base_dir)
    for name, layer in packed.named_modules():
        if isinstance(layer, Linear4bit):
            plain.get_submodule(name).weight.data = numbers(layer)
    one, other = (training(ordinary, tmp_path, model, tokenizer) for model in (packed, plain))
    assert sharing.settle(one) == sharing.settle(other)
    expected = gradients(other)
    for name, gradient in gradients(one).items():
        assert torch.equal(gradient, expected[name]), name


@pytest.mark.parametrize("recomputed", [False, True])
def test_in_bfloat16_a_step_is_nearly_so(
    tiny: Make, base_dir: Path, tmp_path: Path, recomputed: bool
) -> None:
    half = {**MODEL, "precision": "bfloat16", "gradient_checkpointing": recomputed}
    configs = [tiny(model=m, loss={"neutral": {"weight": 1.0}}) for m in (MODEL, half)]
    exact, rounded = (
        gradients(training(each, tmp_path, *loaded(each, base_dir))) for each in configs
    )
    for name, gradient in rounded.items():
        assert gradient.dtype == torch.float32
        assert (gradient - exact[name]).norm() < 0.1 * exact[name].norm(), name


def test_an_evaluation_leaves_gradients_and_weights_as_they_were(
    tiny: Make, base_dir: Path, tmp_path: Path
) -> None:
    """Bitsandbytes would pack the weights anew for a kernel that has no gradient."""
    config = tiny(model=MODEL)
    model, tokenizer = loaded(config, base_dir)
    trainer = training(config, tmp_path, model, tokenizer)
    before, expected = [numbers(layer) for layer in layers(model)], gradients(trainer)
    trainer.model.eval()
    with torch.no_grad():
        trainer.model(input_ids=torch.arange(8)[None])
    trainer.model.state_dict()  # a checkpoint asks for it
    assert all(map(torch.equal, before, [numbers(layer) for layer in layers(model)]))
    for name, gradient in gradients(trainer).items():
        assert torch.equal(gradient, expected[name]), name


def test_a_callback_in_another_training_spares_it_too(tiny: Make, base_dir: Path) -> None:
    model, tokenizer = loaded(tiny(model=MODEL), base_dir)
    for layer in layers(model):
        layer.support_avx512bf16_for_cpu = True  # as it comes from bitsandbytes on such a processor
    with preserved(model, tokenizer):
        assert not any(layer.support_avx512bf16_for_cpu for layer in layers(model))
        model(input_ids=torch.arange(8)[None])
    assert all(layer.support_avx512bf16_for_cpu for layer in layers(model))


def test_the_plan_knows_what_the_weights_take(tiny: Make, base_dir: Path) -> None:
    config = tiny(model={"base": str(base_dir), **MODEL})
    model, _ = loaded(config, base_dir)
    found = sum(p.numel() * p.element_size() for p in model.parameters())
    for layer in layers(model):
        state = layer.weight.quant_state
        parts = (state.absmax, state.state2.absmax, state.offset)
        found += sum(part.numel() * part.element_size() for part in parts)
    load = estimate.Load(1000, 300, 100, 100, 40, 50)
    shape = shapes.of(config.model)
    parts = estimate.memory(config, shape, load, device="cpu")
    expected = parts["weights"] * estimate.GIB - estimate.FLOAT32 * shape.trainable
    assert expected == pytest.approx(found, rel=0.01)
    half = tiny(model={"base": str(base_dir), **MODEL, "precision": "bfloat16"})
    assert "weights in bfloat16" not in estimate.memory(half, shape, load, device="cpu")


# ------------------------------------------------------------------------------------ a whole run
FIELDS: dict[str, dict[str, Any]] = {
    "model": {**MODEL, "precision": "bfloat16", "gradient_checkpointing": True},
    "loss": {"neutral": {"weight": 1.0}},
    "optim": {"steps": 3},
    "tracking": {"mode": "disabled"},
}


def go(config: TrainConfig, folder: Path) -> RunManifest:
    folder.mkdir(exist_ok=True)
    return run.train(config, folder, "demo", ["wm-train"], Console(quiet=True))


@pytest.fixture(scope="module")
def whole(tiny: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunManifest]:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        return folder, go(tiny(**FIELDS), folder)


def test_a_run_says_that_its_base_was_in_four_bits(whole: tuple[Path, RunManifest]) -> None:
    folder, manifest = whole
    report = load(EvalReport, folder / "eval/step-000003/eval.json")
    assert report.precision == "bfloat16 (4-bit weights)"
    assert manifest.packages["bitsandbytes"] == bitsandbytes.__version__
    assert manifest.shared_prefixes
    assert "held in four bits (NF4)" in (folder / "README.md").read_text("utf-8")
    assert any("base in full precision" in line for line in summary.next_steps(manifest, folder))
    first = journal.read(folder / "log.jsonl", "train")[0]
    assert abs(first["neutral/loss"]) < 1e-6  # the base is what the model was before its first step


def test_its_adapter_goes_on_the_base_and_into_it(whole: tuple[Path, RunManifest]) -> None:
    folder, manifest = whole
    model, _ = load_model(folder / "base", adapter=folder / "adapter")
    assert layers(model) == []
    merged, _ = load_model(merge(folder, manifest))
    ids = torch.arange(8)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            merged(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-3, rtol=0
        )


def test_gone_on_with_it_ends_as_if_it_had_not_been_stopped(
    whole: tuple[Path, RunManifest], tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes on has not evaluated before its steps, and the whole run has."""
    config, folder = tiny(**FIELDS), tmp_path / "stopped"
    stop = Stop.on_step_end

    def at_two(self: Stop, args: Any, state: Any, *rest: Any, **kwargs: Any) -> Any:
        if state.global_step == 2:
            raise KeyboardInterrupt
        return stop(self, args, state, *rest, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Stop, "on_step_end", at_two)
        with pytest.raises(KeyboardInterrupt):
            go(config, folder)
    assert go(config, folder).weights_sha256 == whole[1].weights_sha256


@pytest.mark.slow
def test_two_processes_train_as_one_does(tiny: Make, tmp_path: Path) -> None:
    config = tiny(**FIELDS | {"optim": {"steps": 4, "batch_size": 12}})
    (tmp_path / "preset.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")), "utf-8")
    losses: list[list[float]] = []
    for processes in (1, 2):
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        launch += ["--nproc_per_node", str(processes), "-m", "wm_train"]
        asked = ["--preset", "preset.yaml", "--runs-dir", ".", "--name", f"run-{processes}"]
        subprocess.run([*launch, *asked], check=True, cwd=tmp_path)
        lines = journal.read(tmp_path / f"run-{processes}/log.jsonl", "train")
        losses.append([line["loss"] for line in lines])
    assert losses[1] == pytest.approx(losses[0], abs=0.01)
