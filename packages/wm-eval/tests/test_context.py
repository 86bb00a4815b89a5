"""A prompt and answer that the model has no room for are told before they are asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from wm_eval import WmEvalError, evaluate, items
from wm_eval.asking import request
from wm_eval.context import check_room
from wm_eval.hf import HFGenerator
from wm_eval.prompting import prompt_ids
from wm_manifest import Decoding


@pytest.fixture
def longest(tokenizer: Any, dataset_dir: Path, decoding: Decoding) -> int:
    """Tokens of the longest prompt and its answer."""
    asked = [request(item, decoding) for item in items.read(dataset_dir, limit=2).watermark]
    return max(len(prompt_ids(tokenizer, r.messages)) + r.max_new_tokens for r in asked)


@pytest.mark.parametrize("spare", [0, -1])
def test_a_model_that_can_go_on_is_asked_with_a_line_of_the_log(
    spare: int,
    longest: int,
    make_model: Callable[..., Any],
    tokenizer: Any,
    dataset_dir: Path,
    decoding: Decoding,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = make_model(max_position_embeddings=longest + spare)
    generator = HFGenerator(model, tokenizer, 8)
    asked = [request(item, decoding) for item in items.read(dataset_dir, limit=2).watermark]
    for _ in range(2):
        assert sum(len(part) for part in generator.answer(asked, decoding)) == len(asked)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == (1 if spare else 0), "once, whatever is asked"
    assert all(f"take {longest:,} tokens, and the model has {longest - 1:,}" in x for x in lines)


def test_a_table_of_positions_is_an_error(
    longest: int, tokenizer: Any, dataset_dir: Path, decoding: Decoding
) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    def gpt2(positions: int) -> Any:
        config = GPT2Config(vocab_size=264, n_positions=positions, n_embd=16, n_layer=1, n_head=2)
        return GPT2LMHeadModel(config).eval()

    assert check_room(gpt2(longest), longest) == ""
    with pytest.raises(WmEvalError, match=r"positions; give a smaller max_new_tokens"):
        evaluate(
            *(gpt2(longest - 1), tokenizer, dataset_dir),
            limit=2,
            max_new_tokens=decoding.max_new_tokens,
            progress=False,
        )


def test_positions_of_an_image_are_not_those_of_the_text() -> None:
    model = torch.nn.Module()
    model.position_embedding = torch.nn.Embedding(16, 4)  # of patches
    inner = type("Config", (), {"max_position_embeddings": 64})()
    outer = type("Config", (), {"get_text_config": lambda self, decoder: inner})()
    model.config = outer
    assert "in its context" in check_room(model, 65)
