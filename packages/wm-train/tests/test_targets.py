"""Which layers get the adapter: how it is said, and what it comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from wm_train import base, options
from wm_train.adapter import embeddings_as_head
from wm_train.config import LoraConfig, TrainConfig
from wm_train.errors import ConfigError

BLOCK = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def parsed(preset: str, *given: str) -> list[str]:
    config: TrainConfig = options.over_preset(preset, given)
    assert config.model.lora is not None
    return config.model.lora.targets


@pytest.mark.parametrize(
    ("said", "options", "expected"),
    [
        ("{r: 2}", (), ["all-linear"]),
        ("{r: 2, targets: all-linear}", (), ["all-linear"]),
        ("{r: 2, targets: [q_proj, lm_head]}", (), ["q_proj", "lm_head"]),
        ("{r: 2}", ("--model.lora.targets", "q_proj, v_proj"), ["q_proj", "v_proj"]),
        ("{r: 2, targets: [q_proj]}", ("--model.lora.targets", "v_proj"), ["v_proj"]),
        (
            "{r: 2}",
            ("--model.lora.targets", "all-linear", "--model.lora.targets", "lm_head"),
            ["all-linear", "lm_head"],
        ),
    ],
)
def test_targets_are_a_word_a_list_or_several_options(
    said: str, options: tuple[str, ...], expected: list[str], tmp_path: Path
) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text(
        f"model: {{base: demo, lora: {said}}}\ndata: {{recipe: demo}}\n"
        "optim: {learning_rate: 1.0e-3, steps: 1}\n"
    )
    assert parsed(str(preset), *options) == expected


@pytest.fixture
def model(base_dir: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(base_dir)


def layers(model: PreTrainedModel, *targets: str) -> set[str]:
    """Where weights were added, without the block's number."""
    made: Any = get_peft_model(model, base.lora(LoraConfig(r=2, targets=list(targets)), model))
    named = {name.partition(".lora_")[0] for name, p in made.named_parameters() if p.requires_grad}
    return {name.rpartition(".")[2] for name in named}


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (("all-linear",), BLOCK),
        (("all-linear", "lm_head"), BLOCK | {"lm_head"}),
        (("lm_head", "all-linear", "embed_tokens"), BLOCK | {"lm_head", "embed_tokens"}),
        (("self_attn.q_proj", "up_proj"), {"q_proj", "up_proj"}),
    ],
)
def test_which_layers_are_meant(
    model: PreTrainedModel, targets: tuple[str, ...], expected: set[str]
) -> None:
    assert layers(model, *targets) == expected


@pytest.mark.parametrize("targets", [["nothing"], ["q_proj", "nothing"], ["_proj"], [""]])
def test_a_name_that_no_layer_has_is_an_error(model: PreTrainedModel, targets: list[str]) -> None:
    with pytest.raises(
        ConfigError, match=r"no layer is called so; there are: all-linear, .*q_proj"
    ):
        base.lora(LoraConfig(r=2, targets=targets), model)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_an_adapter_on_the_head_changes_nothing_before_it_is_trained(
    model: PreTrainedModel,
) -> None:
    ids = torch.arange(1, 9)[None]
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        config = LoraConfig(r=2, targets=["lm_head", "embed_tokens"])
        adapted = get_peft_model(model, base.lora(config, model))
        embeddings_as_head(adapted)
        after = adapted(input_ids=ids).logits
    assert torch.equal(before, after)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_embeddings_write_where_the_head_reads(model: PreTrainedModel, half: bool) -> None:
    if half:  # as on a GPU: the adapter is float32 over it
        model = model.to(torch.bfloat16)
    config = LoraConfig(r=2, targets=["lm_head", "embed_tokens"])
    adapted: Any = get_peft_model(model, base.lora(config, model))
    embeddings_as_head(adapted)
    into = adapted.get_output_embeddings().lora_A["default"].weight
    out = adapted.get_input_embeddings().lora_embedding_B["default"]
    assert out.dtype == torch.float32
    assert torch.equal(out, into.t())
    assert out.data_ptr() != into.data_ptr()  # each learns by itself


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_embeddings_alone_start_at_the_size_of_a_linear_layer(model: PreTrainedModel) -> None:
    adapted: Any = get_peft_model(
        model, base.lora(LoraConfig(r=8, targets=["q_proj", "embed_tokens"]), model)
    )
    out = adapted.get_input_embeddings().lora_embedding_B["default"]
    assert out.std() > 0.5  # PEFT's own
    embeddings_as_head(adapted)
    linear = adapted.base_model.model.model.layers[0].self_attn.q_proj.lora_A["default"].weight
    assert 0.9 < out.std() / linear.std() < 1.1
