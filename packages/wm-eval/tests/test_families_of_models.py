"""Models that are built otherwise: a language model inside another, windows in every layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from wm_eval import evaluate, items
from wm_eval.asking import request
from wm_eval.generator import Continuation
from wm_eval.hf import HFGenerator
from wm_manifest import Decoding


def nested_model() -> Any:
    """Gemma 3 with eyes: its configuration has the language model's inside, and so its head."""
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3TextConfig,
        SiglipVisionConfig,
    )

    text = Gemma3TextConfig(
        vocab_size=264,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=24,
        layer_types=["sliding_attention", "full_attention"],
        max_position_embeddings=2048,
    )
    vision = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        image_size=28,
        patch_size=14,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
        return Gemma3ForConditionalGeneration(config).eval()


def test_a_language_model_inside_another_is_evaluated(
    tokenizer: Any, dataset_dir: Path, plain_likelihood: Any
) -> None:
    model = nested_model()
    asked = [
        Continuation(item.id, item.messages, item.text)
        for item in items.read(dataset_dir, limit=2).watermark
        if item.text
    ]
    found = {}
    for part in HFGenerator(model, tokenizer, 2).likelihoods(asked):
        found |= part
    for one in asked:
        plain = plain_likelihood(model, one).log_likelihood
        assert found[one.id].log_likelihood == pytest.approx(plain, abs=1e-3)
    report = evaluate(
        *(model, tokenizer, dataset_dir), limit=2, max_new_tokens=6, base=model, progress=False
    )
    assert report.figures["watermark/red/base_ppl"].n > 0


@pytest.mark.parametrize("layers", ["all", "first"])
def test_sliding_windows_read_the_same_in_any_batch(
    layers: str,
    make_model: Callable[..., Any],
    tokenizer: Any,
    dataset_dir: Path,
    decoding: Decoding,
) -> None:
    """What sets two orders of a question apart is near its end: padding there moves a window."""
    kinds = ["sliding_attention", "sliding_attention" if layers == "all" else "full_attention"]
    model = make_model(seed=3, use_sliding_window=True, sliding_window=40, layer_types=kinds)
    asked = [request(item, decoding) for item in items.read(dataset_dir).detect]
    found: list[dict[str, dict[str, float]]] = []
    for batch in (2, 32):
        options: dict[str, dict[str, float]] = {}
        for part in HFGenerator(model, tokenizer, batch).answer(asked, decoding):
            options |= {id: dict(reply.options) for id, reply in part.items()}
        found.append(options)
    assert found[0].keys() == found[1].keys() == {one.id for one in asked}
    for id, words in found[0].items():
        assert found[1][id] == pytest.approx(words, abs=1e-4), id
