"""A model's answers do not depend on the batch; shortcuts give what the long way gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from wm_eval import items
from wm_eval.asking import request
from wm_eval.generator import Reply
from wm_eval.hf import HFGenerator
from wm_eval.prompting import prompt_ids, word_ids
from wm_manifest import Decoding


def replies(
    model: Any, tokenizer: Any, data: list[items.Item], decoding: Decoding, batch: int
) -> dict[str, Reply]:
    found: dict[str, Reply] = {}
    for part in HFGenerator(model, tokenizer, batch).answer(
        [request(item, decoding) for item in data], decoding
    ):
        found.update(part)
    return found


@pytest.fixture
def talkative(make_model: Callable[..., Any], tokenizer: Any) -> Any:
    """Random weights; every eighth byte ends an answer, so that some end early and some late."""
    model = make_model(seed=3, tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *range(0, 256, 8)]
    return model


def test_batch_size_changes_no_answer(
    talkative: Any, tokenizer: Any, dataset_dir: Path, decoding: Decoding
) -> None:
    data = items.read(dataset_dir, limit=8)
    asked = [*data.watermark, *data.detect]
    one = replies(talkative, tokenizer, asked, decoding, 1)
    eight = replies(talkative, tokenizer, asked, decoding, 8)
    shuffled = replies(talkative, tokenizer, asked[::-1], decoding, 5)
    ends = {reply.tokens for reply in one.values()}
    assert len(ends) > 3, "all answers have one length: rows leaving the batch are not tested"
    assert {reply.stopped for reply in one.values()} == {True, False}
    for id, reply in one.items():
        assert (eight[id].text, eight[id].stopped) == (reply.text, reply.stopped), id
        assert (shuffled[id].text, shuffled[id].stopped) == (reply.text, reply.stopped), id


def test_greedy_answers_are_those_of_generate(
    talkative: Any, tokenizer: Any, dataset_dir: Path, decoding: Decoding
) -> None:
    greedy = decoding.model_copy(update={"temperature": 0.0, "max_new_tokens": 24})
    asked = items.read(dataset_dir, limit=4).watermark
    found = replies(talkative, tokenizer, asked, greedy, 8)
    for item in asked:
        ids = torch.tensor([prompt_ids(tokenizer, item.messages)])
        out = talkative.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=24,
            pad_token_id=0,
        )
        answer = out[0, ids.shape[1] :].tolist()
        stopped = answer[-1] in talkative.generation_config.eos_token_id
        expected = tokenizer.decode(answer[:-1] if stopped else answer, skip_special_tokens=True)
        assert (found[item.id].text, found[item.id].stopped) == (expected, stopped)


def test_word_log_probabilities_are_those_of_a_plain_forward_pass(
    talkative: Any, tokenizer: Any, dataset_dir: Path, decoding: Decoding
) -> None:
    asked = items.read(dataset_dir, limit=6).detect
    found = replies(talkative, tokenizer, asked, decoding, 8)
    for item in asked:
        prompt = prompt_ids(tokenizer, item.messages)
        for word in items.COLOURS:
            ids = word_ids(tokenizer, word)
            assert len(ids) > 1, "a word of one token leaves the continuation untested"
            with torch.no_grad():
                p = talkative(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
            plain = sum(p[len(prompt) - 1 + k, id].item() for k, id in enumerate(ids))
            assert found[item.id].options[word] == pytest.approx(plain, abs=1e-4)


def test_detect_answers_do_not_depend_on_sharing_the_prefix(
    talkative: Any, tokenizer: Any, dataset_dir: Path, decoding: Decoding
) -> None:
    asked = items.read(dataset_dir, limit=6).detect
    shared = replies(talkative, tokenizer, asked, decoding, 8)
    alone = [dataclasses.replace(item, family=item.id) for item in asked]
    apart = replies(talkative, tokenizer, alone, decoding, 8)
    assert {k: v.text for k, v in shared.items()} == {k: v.text for k, v in apart.items()}


def test_questions_about_texts_are_answered_by_the_most_likely_word_on_request(
    talkative: Any, tokenizer: Any, dataset_dir: Path, decoding: Decoding
) -> None:
    """And nothing else is: the other answers are sampled as before, in one pass with them."""
    data = items.read(dataset_dir, limit=4)
    asked = [*data.watermark, *data.detect]
    own = decoding.model_copy(update={"temperature": 1.5, "top_p": 1.0})
    cold = decoding.model_copy(update={"temperature": 0.0})
    sampled, greedy, coldest = (
        replies(talkative, tokenizer, asked, how, 8)
        for how in (own, own.model_copy(update={"detect": "greedy"}), cold)
    )
    for item in data.watermark:
        assert greedy[item.id].text == sampled[item.id].text
    texts = [item.id for item in data.detect]
    assert [greedy[id].text for id in texts] == [coldest[id].text for id in texts]
    assert [greedy[id].text for id in texts] != [sampled[id].text for id in texts]


def test_no_global_state_is_touched(
    model: Any, tokenizer: Any, dataset_dir: Path, decoding: Decoding
) -> None:
    model.config.use_cache = False  # as a Trainer leaves it
    before = torch.get_rng_state(), tokenizer.padding_side, model.training
    replies(model, tokenizer, items.read(dataset_dir, limit=2).watermark, decoding, 4)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (tokenizer.padding_side, model.training) == before[1:]
    assert model.config.use_cache is False
