"""Which way a head's log-probabilities are computed; that each is right is test_gradients'."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

from wm_train import head as heads
from wm_train.head import token_head

WAYS = ("linear_logps", "adapted_logps", "module_logps")
VOCAB = 19
LORA: dict[str, Any] = {"r": 2, "target_modules": ["lm_head"], "init_lora_weights": False}

# Fields of PEFT's LoraConfig, None for no adapter, and the way that is taken.
CASES: dict[str, tuple[dict[str, Any] | None, str]] = {
    "no adapter": (None, "linear_logps"),
    "an adapter elsewhere": ({"target_modules": ["q_proj"]}, "linear_logps"),
    "an adapter": ({}, "adapted_logps"),
    "with dropout": ({"lora_dropout": 0.3}, "adapted_logps"),
    "with a scale of its own": ({"lora_alpha": 7, "use_rslora": True}, "adapted_logps"),
    "with magnitudes": ({"use_dora": True}, "module_logps"),
    "with biases": ({"lora_bias": True}, "module_logps"),
}


def model_with(changes: dict[str, Any] | None) -> Any:
    torch.manual_seed(0)
    model: Any = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCAB,
            hidden_size=8,
            intermediate_size=12,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=4,
            tie_word_embeddings=False,
        )
    )
    model.requires_grad_(False)
    return model if changes is None else get_peft_model(model, LoraConfig(**LORA | changes))


def logps(model: Any) -> torch.Tensor:
    """Through `token_head`, of five tokens of one text."""
    pack: Any = SimpleNamespace(sources=torch.arange(5), targets=torch.tensor([3, 1, 4, 1, 5]))
    with token_head(model.get_output_embeddings(), pack, chunk=2):
        return model(input_ids=torch.tensor([[2, 3, 1, 4, 1, 5]])).logits


@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")
@pytest.mark.parametrize("name", CASES)
def test_each_head_is_computed_in_its_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, way = CASES[name]
    taken: list[str] = []

    def noted(called: str, original: Any) -> Any:
        return lambda *args: (taken.append(called), original(*args))[1]

    for each in WAYS:
        monkeypatch.setattr(heads, each, noted(each, getattr(heads, each)))
    model = model_with(changes).eval()
    found = logps(model)
    assert taken == [way]
    expected = model(input_ids=torch.tensor([[2, 3, 1, 4, 1, 5]])).logits[0, :-1].log_softmax(-1)
    picked = expected.gather(1, torch.tensor([3, 1, 4, 1, 5])[:, None]).squeeze(1)
    assert torch.allclose(found, picked, atol=1e-6)


def test_an_adapter_that_is_off_or_merged_is_left_to_its_module() -> None:
    model = model_with({}).eval()
    on = logps(model)
    with model.disable_adapter():
        off = logps(model)
    assert not torch.allclose(on, off, atol=1e-3)
    model.merge_adapter()
    assert torch.allclose(logps(model), on, atol=1e-6)


def test_dropout_is_drawn_in_training() -> None:
    model = model_with({"lora_dropout": 0.5}).train()
    torch.manual_seed(1)
    first = logps(model)
    assert not torch.allclose(first, logps(model))
    torch.manual_seed(1)
    assert torch.equal(first, logps(model))
