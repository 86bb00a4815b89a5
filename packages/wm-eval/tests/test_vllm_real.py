"""The adapter against vLLM itself, on a small random Qwen3: `pytest -m vllm packages/wm-eval/tests`.

Where vLLM is installed (docs/evaluate.md), on a GPU or on a processor. The other backend is the
oracle: the same weights in float32, with an adapter and without.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy.stats import chisquare

from wm_eval import items
from wm_eval.asking import request
from wm_eval.generator import Continuation, Generator, Likelihood, Reply, Request
from wm_eval.hf import HFGenerator
from wm_eval.prompting import prompt_ids
from wm_manifest import Decoding

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(1200),  # the engine compiles for minutes when it starts
    pytest.mark.filterwarnings("default"),  # vLLM's own
]

# What its kernels take: heads of 32 or more.
SHAPE = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 32, "tie_word_embeddings": False}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vllm")


@pytest.fixture(scope="module")
def engine() -> Iterator[dict[str, Any]]:
    """The engine that the first test starts, for all of them: it takes minutes."""
    started: dict[str, Any] = {}
    yield started
    if "with_it" in started:
        started["with_it"].engine.llm_engine.engine_core.shutdown()


@pytest.fixture
def both(
    make_model: Callable[..., Any], small_tokenizer: Any, saved: Path, engine: dict[str, Any]
) -> SimpleNamespace:
    """Two generators of vLLM and the models that they answer with, with an adapter and below it."""
    from peft import LoraConfig, get_peft_model

    from wm_eval.vllm_loading import load_vllm

    base = make_model(seed=3, **SHAPE)
    with torch.no_grad():
        base.lm_head.weight.mul_(20)  # some tokens are likely
    base.generation_config.eos_token_id = [small_tokenizer.eos_token_id, *range(0, 256, 10)]
    targets = ["q_proj", "o_proj", "down_proj"]
    adapted: Any = get_peft_model(
        copy.deepcopy(base), LoraConfig(r=4, lora_alpha=8, target_modules=targets)
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(5)
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.2)
    if not engine:
        base.save_pretrained(saved / "model")
        small_tokenizer.save_pretrained(saved / "model")
        adapted.save_pretrained(saved / "adapter")
        with_it, below, _ = load_vllm(str(saved / "model"), str(saved / "adapter"), "float32")
        engine.update(with_it=with_it, below=below)
    return SimpleNamespace(**engine, adapted=adapted.eval(), base=base)


def answers(generator: Generator, asked: Sequence[Request], how: Decoding) -> dict[str, Reply]:
    return {id: reply for part in generator.answer(asked, how) for id, reply in part.items()}


def weighed(generator: Generator, asked: Sequence[Continuation]) -> dict[str, Likelihood]:
    return {id: found for part in generator.likelihoods(asked) for id, found in part.items()}


@pytest.mark.parametrize(("ours", "oracle"), [("with_it", "adapted"), ("below", "base")])
def test_greedy_answers_and_log_probabilities_are_those_of_the_other_backend(
    both: Any, small_tokenizer: Any, dataset_dir: Path, decoding: Decoding, ours: str, oracle: str
) -> None:
    how = decoding.model_copy(update={"temperature": 0.0, "max_new_tokens": 12})
    data = items.read(dataset_dir, limit=6)
    asked = [request(item, how) for item in [*data.watermark, *data.detect]]
    texts = [Continuation(item.id, item.messages, item.text[:20]) for item in data.watermark]
    other = HFGenerator(getattr(both, oracle), small_tokenizer, 4)
    expected, likely = answers(other, asked, how), weighed(other, texts)
    found = answers(getattr(both, ours), asked, how)
    assert found.keys() == expected.keys()
    assert {reply.stopped for reply in found.values()} == {True, False}
    for id, reply in expected.items():
        mine = found[id]
        assert (mine.text, mine.tokens, mine.stopped) == (reply.text, reply.tokens, reply.stopped)
        assert mine.options == pytest.approx(reply.options, abs=1e-4)
    for id, value in weighed(getattr(both, ours), texts).items():
        assert value.tokens == likely[id].tokens
        assert value.log_likelihood == pytest.approx(likely[id].log_likelihood, abs=1e-3)


def test_the_adapter_changes_what_is_answered(
    both: Any, dataset_dir: Path, decoding: Decoding
) -> None:
    """Or the other tests would pass without it."""
    asked = [request(item, decoding) for item in items.read(dataset_dir, limit=6).watermark]
    found = [answers(one, asked, decoding) for one in (both.with_it, both.below, both.with_it)]
    assert found[0] == found[2]  # the same seeds
    assert sum(found[0][one.id].text == found[1][one.id].text for one in asked) < len(asked) / 2


def test_a_sampled_token_comes_as_often_as_temperature_top_k_and_top_p_say(
    both: Any, small_tokenizer: Any, dataset_dir: Path, decoding: Decoding
) -> None:
    from transformers.generation.logits_process import (
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    one = request(items.read(dataset_dir, limit=1).watermark[0], decoding)
    asked = [
        dataclasses.replace(one, id=str(seed), seed=seed, max_new_tokens=1) for seed in range(4000)
    ]
    found = Counter(reply.text for reply in answers(both.with_it, asked, decoding).values())
    ids = torch.tensor([prompt_ids(small_tokenizer, one.messages)])
    with torch.no_grad():
        logits = both.adapted(ids).logits[:, -1]
    for warp in (TemperatureLogitsWarper(0.7), TopKLogitsWarper(20), TopPLogitsWarper(0.8)):
        logits = warp(ids, logits)
    expected: Counter[str] = Counter()
    ends = {small_tokenizer.eos_token_id, *both.base.generation_config.eos_token_id}
    for id, p in enumerate(logits.double().softmax(-1)[0].tolist()):
        text = "" if id in ends else small_tokenizer.decode([id], skip_special_tokens=True)
        if p > 0:
            expected[text] += p * len(asked)
    assert len(expected) > 3
    assert found.keys() <= expected.keys()
    p = chisquare([found[t] for t in expected], list(expected.values())).pvalue
    assert p > 1e-3, (found, expected)
