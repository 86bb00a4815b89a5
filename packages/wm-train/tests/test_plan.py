"""A plan's counts are exact where they can be; its estimates are held to what is really kept."""

import re
from importlib import resources
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from wm_train import estimate, plan, presets, shapes
from wm_train.config import ModelConfig, TrainConfig


@pytest.mark.parametrize(
    ("name", "all_in_all", "without_embeddings"),
    [  # in billions, as the model cards say
        ("Qwen/Qwen3-0.6B", 0.6, 0.44),
        ("Qwen/Qwen3-1.7B", 1.7, 1.4),
        ("Qwen/Qwen3-4B", 4.0, 3.6),
        ("Qwen/Qwen3-8B", 8.2, 6.95),
        ("Qwen/Qwen3-14B", 14.8, 13.2),
    ],
)
def test_parameters_are_the_model_cards(
    name: str, all_in_all: float, without_embeddings: float
) -> None:
    shape = shapes.of(ModelConfig(base=name))
    assert shape.parameters / 1e9 == pytest.approx(all_in_all, rel=0.02)
    assert shape.body / 1e9 == pytest.approx(without_embeddings, rel=0.02)


@pytest.mark.parametrize("targets", ["all-linear", "all-linear,lm_head"])
def test_a_head_under_an_adapter_is_computed_again_backwards(targets: str) -> None:
    """Its logits twice and the slope's product: 6 operations a weight; a frozen one 4."""
    fields = presets.load("qwen3-0.6b")
    fields["model"]["lora"]["targets"] = targets
    fields["model"]["gradient_checkpointing"] = False
    config = TrainConfig.model_validate(fields)
    shape = shapes.of(config.model)
    assert shape.adapted_head == targets.endswith("lm_head")
    load = estimate.Load(tokens=1000, predicted=300, longest=100, sequence=100, mean_context=50)
    more = estimate.flops(config, shape, load) - estimate.flops(config, shape, load, False)
    weights = shape.config.vocab_size * shape.config.hidden_size
    assert more == (2 * 300 * weights if shape.adapted_head else 0)


SIZE: dict[str, Any] = dict(
    vocab_size=100, hidden_size=256, intermediate_size=768, num_hidden_layers=2,
    num_attention_heads=8, num_key_value_heads=4, head_dim=32,
)  # fmt: skip


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_activations_are_what_autograd_keeps(family: str, lora: bool, half: bool) -> None:
    from peft import LoraConfig, get_peft_model

    model: Any = (
        Qwen3ForCausalLM(Qwen3Config(**SIZE))
        if family == "qwen3"
        else LlamaForCausalLM(LlamaConfig(**SIZE))
    )
    if lora:
        model = model.bfloat16() if half else model
        model = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear"))
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor
        return tensor

    tokens = 256
    mask = torch.ones(1, 1, tokens, tokens, dtype=torch.bool).tril()
    body = (model.base_model.model if lora else model).model
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=half):
        body(input_ids=torch.randint(0, 100, (1, tokens)), attention_mask=mask, use_cache=False)
    found = sum(t.untyped_storage().nbytes() for t in kept.values()) / tokens / 2
    width = estimate.BFLOAT16 if half else estimate.FLOAT32
    expected = estimate.layer_activations(shapes.measured(model), width, lora)
    assert expected == pytest.approx(found, rel=0.2)


SHIPPED = [name for name in presets.names() if name.startswith("qwen3")]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_preset_fits_the_memory_it_names(name: str) -> None:
    text = (resources.files("wm_train") / "presets" / f"{name}.yaml").read_text("utf-8")
    gib = int(re.search(r"(\d+) GB", text)[1]) * 1e9 / 2**30
    devices = 8 if name.endswith("-full") else 1
    made = plan.make(TrainConfig.model_validate(presets.load(name)), devices=devices)
    assert estimate.peak(made.memory) < plan.FULL * gib


def test_sharing_halves_the_tokens_of_typical_rows() -> None:
    made = plan.make(TrainConfig.model_validate(presets.load("qwen3-0.6b")))
    assert made.load.tokens < 0.55 * made.unshared
    assert made.steps == 60_000 // 48
