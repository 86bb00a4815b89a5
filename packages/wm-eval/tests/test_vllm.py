"""The vLLM adapter against an engine that keeps vLLM's contract on a small Hugging Face model.

vLLM itself needs a GPU and is not installed where these run: what is tested is what the adapter
makes of requests and of outputs. The names are those of vLLM 0.33's source; test_vllm_loading.py
has them all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from wm_eval import WmEvalError, items, vllm_backend
from wm_eval.asking import request
from wm_eval.generator import Continuation, Likelihood, Reply
from wm_eval.hf import HFGenerator
from wm_eval.vllm_backend import VLLMGenerator
from wm_manifest import Decoding


@dataclass
class Params:
    """The fields of vllm.SamplingParams that are used, with its defaults."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    max_tokens: int = 16
    stop_token_ids: list[int] = field(default_factory=lambda: [])
    prompt_logprobs: int | None = None
    detokenize: bool = True


@dataclass
class Logprob:
    logprob: float


@dataclass
class Completion:
    token_ids: tuple[int, ...]
    finish_reason: str


@dataclass
class Output:
    prompt_logprobs: list[dict[int, Logprob] | None] | None
    outputs: list[Completion]


class Engine:
    """Greedy `generate` as vLLM's: the id that ended an answer is its last one; the first prompt
    token has no log-probability."""

    def __init__(self, model: Any, ends: list[int]) -> None:
        self.model, self.ends = model, ends
        self.model_config: Any = SimpleNamespace(dtype=model.dtype, max_model_len=10_000)
        self.calls: list[tuple[list[Params], Any]] = []

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[dict[str, list[int]]],
        sampling_params: Sequence[Params],
        *,
        use_tqdm: bool = True,
        lora_request: Any = None,
    ) -> list[Output]:
        assert len(prompts) == len(sampling_params)
        self.calls.append((list(sampling_params), lora_request))
        return [
            self.one(prompt["prompt_token_ids"], params)
            for prompt, params in zip(prompts, sampling_params, strict=True)
        ]

    def one(self, prompt: list[int], params: Params) -> Output:
        p = self.model(torch.tensor([prompt])).logits[0].log_softmax(-1)
        ids: list[int] = []
        reason = "length"
        while reason == "length" and len(ids) < params.max_tokens:
            ids.append(int(self.model(torch.tensor([prompt + ids])).logits[0, -1].argmax()))
            reason = "stop" if ids[-1] in {*self.ends, *params.stop_token_ids} else "length"
        stated: list[dict[int, Logprob] | None] = [None]
        stated += [{id: Logprob(float(p[at, id]))} for at, id in enumerate(prompt[1:])]
        return Output(
            stated if params.prompt_logprobs is not None else None, [Completion(tuple(ids), reason)]
        )


@pytest.fixture
def talkative(make_model: Callable[..., Any], tokenizer: Any) -> Any:
    model = make_model(seed=3, tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *range(0, 256, 6)]
    return model


@pytest.fixture
def greedy(decoding: Decoding) -> Decoding:
    return decoding.model_copy(update={"temperature": 0.0, "max_new_tokens": 12})


def test_greedy_answers_and_log_probabilities_are_those_of_the_other_backend(
    talkative: Any, tokenizer: Any, dataset_dir: Path, greedy: Decoding
) -> None:
    data = items.read(dataset_dir, limit=6)
    asked = [request(item, greedy) for item in [*data.watermark, *data.detect]]
    weighed = [Continuation(i.id, i.messages, i.text[:20]) for i in data.watermark]
    engine = Engine(talkative, talkative.generation_config.eos_token_id)
    ours, other = VLLMGenerator(engine, Params, tokenizer), HFGenerator(talkative, tokenizer, 4)
    found: list[dict[str, Reply]] = [{}, {}]
    likely: list[dict[str, Likelihood]] = [{}, {}]
    for at, generator in enumerate((ours, other)):
        for part in generator.answer(asked, greedy):
            found[at] |= part
        for more in generator.likelihoods(weighed):
            likely[at] |= more
    assert found[0].keys() == found[1].keys() == {one.id for one in asked}
    assert {reply.stopped for reply in found[0].values()} == {True, False}
    for id, reply in found[1].items():
        mine = found[0][id]
        assert (mine.text, mine.tokens, mine.stopped) == (reply.text, reply.tokens, reply.stopped)
        assert mine.options == pytest.approx(reply.options, abs=1e-4)
    for id, value in likely[1].items():
        assert likely[0][id].tokens == value.tokens
        assert likely[0][id].log_likelihood == pytest.approx(value.log_likelihood, abs=1e-3)


def test_each_request_has_its_own_seed_and_the_adapter_goes_along(
    talkative: Any, tokenizer: Any, dataset_dir: Path, decoding: Decoding
) -> None:
    asked = [request(item, decoding) for item in items.read(dataset_dir, limit=2).watermark]
    engine = Engine(talkative, [])
    few = [dataclasses.replace(one, max_new_tokens=2) for one in asked]
    list(VLLMGenerator(engine, Params, tokenizer, "the adapter").answer(few, decoding))
    ((params, lora),) = engine.calls
    assert lora == "the adapter"
    assert [p.seed for p in params] == [one.seed for one in asked]
    assert {(p.temperature, p.top_p, p.top_k, p.max_tokens) for p in params} == {(0.7, 0.8, 20, 2)}
    assert {tuple(p.stop_token_ids) for p in params} == {(tokenizer.eos_token_id,)}


def test_a_question_about_a_text_is_greedy_on_request(
    talkative: Any, tokenizer: Any, dataset_dir: Path, decoding: Decoding
) -> None:
    data, how = items.read(dataset_dir, limit=1), decoding.model_copy(update={"detect": "greedy"})
    asked = [request(item, how) for item in [data.watermark[0], data.detect[0]]]
    engine = Engine(talkative, [])
    list(VLLMGenerator(engine, Params, tokenizer).answer(asked, how))
    assert [params.temperature for params in engine.calls[-1][0]] == [0.7, 0.0]


def test_chunks_that_are_done_are_left_out(
    talkative: Any,
    tokenizer: Any,
    dataset_dir: Path,
    greedy: Decoding,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_backend, "CHUNK", 2)
    asked = [request(item, greedy) for item in items.read(dataset_dir, limit=2).watermark]
    few = [dataclasses.replace(one, max_new_tokens=2) for one in asked]
    generator = VLLMGenerator(Engine(talkative, []), Params, tokenizer)
    done = {one.id for one in few[:3]}
    parts = list(generator.answer(few, greedy, done))
    assert [set(part) for part in parts] == [{o.id for o in few[2:4]}, {o.id for o in few[4:]}]
    weighed = [Continuation(one.id, one.messages, "x") for one in few]
    likely = list(generator.likelihoods(weighed, done))
    assert [set(part) for part in likely] == [set(part) for part in parts]


@pytest.mark.parametrize(("room", "refused"), [(10_000, False), (100, True)])
def test_an_answer_that_the_engine_would_cut_is_refused(
    talkative: Any,
    tokenizer: Any,
    dataset_dir: Path,
    decoding: Decoding,
    room: int,
    refused: bool,
) -> None:
    """vLLM gives it the room that memory is enough for, and says of the rest that it was long."""
    engine = Engine(talkative, [])
    engine.model_config.max_model_len = room
    asked = [request(item, decoding) for item in items.read(dataset_dir, limit=1).watermark[:1]]
    few = [dataclasses.replace(one, max_new_tokens=2) for one in asked]
    answers = VLLMGenerator(engine, Params, tokenizer).answer(few, decoding)
    if refused:
        with pytest.raises(WmEvalError, match=r"has room for 100, .* --max-new-tokens"):
            next(answers)
    else:
        assert set(next(answers)) == {few[0].id}


def test_an_engine_that_dies_is_an_error_of_one_line(
    talkative: Any, tokenizer: Any, dataset_dir: Path, decoding: Decoding
) -> None:
    engine = Engine(talkative, [])

    def die(*_: Any, **__: Any) -> None:
        raise RuntimeError("EngineCore encountered an issue.\n\nTraceback\nof many\nlines")

    engine.generate = die
    asked = [request(item, decoding) for item in items.read(dataset_dir, limit=1).watermark]
    with pytest.raises(WmEvalError) as raised:
        next(VLLMGenerator(engine, Params, tokenizer).answer(asked, decoding))
    assert str(raised.value).startswith("vLLM stopped: EngineCore encountered an issue.")
    assert "\n" not in str(raised.value)
