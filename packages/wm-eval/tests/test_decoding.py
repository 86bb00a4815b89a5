"""Rows that share a batch: each keeps its own keys, whoever comes and goes beside it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MambaConfig, Qwen3Config
from transformers.cache_utils import Cache

from wm_eval import WmEvalError, batching, cache, items
from wm_eval.asking import WORD_TOKENS, request
from wm_eval.cache import PromptLayer, Rows, prompt_cache
from wm_eval.forward import Forward
from wm_eval.generator import Continuation, Likelihood, Reply, Request
from wm_eval.hf import HFGenerator
from wm_eval.prompting import prompt_ids, word_ids
from wm_manifest import Decoding


def replies(
    model: Any, tokenizer: Any, asked: list[items.Item], decoding: Decoding, batch: int
) -> dict[str, Reply]:
    found: dict[str, Reply] = {}
    requests = [request(item, decoding) for item in asked]
    for part in HFGenerator(model, tokenizer, batch).answer(requests, decoding):
        assert not found.keys() & part.keys(), "answered twice"
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


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(rows, ids a row) of each forward pass."""
    seen: list[tuple[int, int]] = []
    real = Forward.__call__

    def call(self: Any, ids: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(tuple(ids.shape))
        return real(self, ids, *args, **kwargs)

    monkeypatch.setattr(Forward, "__call__", call)
    return seen


@pytest.mark.parametrize("pool", [8, 256])
def test_rows_that_wait_take_the_places_of_rows_that_end(
    pool: int,
    talkative: Any,
    tokenizer: Any,
    dataset_dir: Path,
    decoding: Decoding,
    passes: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "POOL", pool)
    asked = items.read(dataset_dir).watermark
    alone = replies(talkative, tokenizer, asked, decoding, 1)
    passes.clear()
    four = replies(talkative, tokenizer, asked, decoding, 4)
    assert four == alone
    steps = sum(1 for _, new in passes if new == 1)
    tokens = sum(reply.tokens for reply in four.values())
    batches = [list(four.values())[at : at + 4] for at in range(0, len(four), 4)]
    in_turn = sum(max(reply.tokens for reply in batch) for batch in batches)
    assert steps >= tokens / 4
    if pool == 256:
        assert steps < 0.75 * in_turn, "as many steps as batches that wait for their longest"


def test_what_prompts_begin_with_is_run_once(
    talkative: Any,
    tokenizer: Any,
    dataset_dir: Path,
    decoding: Decoding,
    passes: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = items.read(dataset_dir)
    asked = [*data.watermark, *data.detect]
    weighed = [Continuation(item.id, item.messages, item.text or "none") for item in asked]
    found: list[tuple[dict[str, Reply], dict[str, Likelihood], int]] = []
    for sharers in (2, 10**9):
        monkeypatch.setattr(batching, "MIN_SHARERS", sharers)
        passes.clear()
        answered = replies(talkative, tokenizer, asked, decoding, 8)
        likely: dict[str, Likelihood] = {}
        for part in HFGenerator(talkative, tokenizer, 8).likelihoods(weighed):
            likely |= part
        found.append((answered, likely, sum(rows * new for rows, new in passes)))
    (shared, likely, work), (apart, plain, more) = found
    assert work < 0.75 * more
    assert likely.keys() == plain.keys() == {item.id for item in asked}
    for id, reply in apart.items():
        assert (shared[id].text, shared[id].stopped) == (reply.text, reply.stopped), id
        assert shared[id].options == pytest.approx(reply.options, abs=1e-4)
        assert likely[id].tokens == plain[id].tokens
        assert likely[id].log_likelihood == pytest.approx(plain[id].log_likelihood, abs=1e-3)


def test_the_head_sees_answer_positions_alone(
    talkative: Any, tokenizer: Any, dataset_dir: Path, decoding: Decoding
) -> None:
    """All logits of a prompt of 1,000 tokens at Qwen3's 151,936 ids are 600 MB a row."""
    seen: list[int] = []  # positions of a row, of each pass through the head

    def note(head: Any, inputs: tuple[Any, ...], output: Any) -> None:
        seen.append(inputs[0].shape[1])

    talkative.lm_head.register_forward_hook(note)
    data = items.read(dataset_dir, limit=4)
    replies(talkative, tokenizer, [*data.watermark, *data.detect], decoding, 8)
    word = max(len(word_ids(tokenizer, colour)) for colour in items.COLOURS)
    assert max(seen) <= word
    seen.clear()
    answer = "Rain falls on flat roofs."
    weighed = [Continuation(item.id, item.messages, answer) for item in data.watermark]
    assert list(HFGenerator(talkative, tokenizer, 8).likelihoods(weighed))
    assert max(seen) == len(word_ids(tokenizer, answer)) + 1  # and an opening's one


def test_a_text_is_run_once_for_both_orders(
    talkative: Any,
    tokenizer: Any,
    dataset_dir: Path,
    decoding: Decoding,
    passes: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "MIN_SHARERS", 10**9)  # openings that all texts have are apart
    asked = items.read(dataset_dir, limit=12).detect
    work: list[int] = []
    for families in (asked, [dataclasses.replace(item, family=item.id) for item in asked]):
        passes.clear()
        replies(talkative, tokenizer, families, decoding, 8)
        work.append(sum(rows * new for rows, new in passes if new > WORD_TOKENS))
    assert work[0] < 0.75 * work[1]


def test_prompts_of_like_length_are_run_together() -> None:
    prompts = {str(n): [n] * (3 + 7 * n % 50) for n in range(50)}
    requests = [Request(id, ({"role": "user", "content": id},), 0, 8, family=id) for id in prompts]
    (pool,) = batching.pools(requests, prompts, dict.fromkeys(prompts, ()), 8)
    lengths = [len(prompts[family.ids[0]]) for family in pool]
    assert lengths == sorted(lengths, reverse=True)


def test_a_row_of_nan_spoils_no_other(
    talkative: Any, tokenizer: Any, dataset_dir: Path, decoding: Decoding
) -> None:
    """Its keys stay in the slot that another row gets."""
    asked = items.read(dataset_dir).watermark
    healthy = replies(talkative, tokenizer, asked, decoding, 4)
    bad = tokenizer.convert_tokens_to_ids("1")  # in some prompts, and now and then written
    with torch.no_grad():
        talkative.model.embed_tokens.weight[bad] = torch.nan
    found = replies(talkative, tokenizer, asked, decoding, 4)
    clean = [i.id for i in asked if bad not in prompt_ids(tokenizer, i.messages)]
    clean = [id for id in clean if "1" not in healthy[id].text]
    assert 3 < len(clean) < len(asked) - 3, "not both kinds"
    for id in clean:
        assert found[id] == healthy[id]
    assert any(reply.tokens == 0 and not reply.stopped for reply in found.values())


def test_a_sliding_window_sees_what_it_sees_in_generate(
    make_model: Callable[..., Any], tokenizer: Any, dataset_dir: Path, decoding: Decoding
) -> None:
    model = make_model(
        seed=3, use_sliding_window=True, sliding_window=24, max_window_layers=1, layer_types=None
    )
    assert any(prompt_cache(model.config).is_sliding)
    greedy = decoding.model_copy(update={"temperature": 0.0, "max_new_tokens": 40})
    data = items.read(dataset_dir, limit=4)
    asked = [*data.watermark, *data.detect]
    found = replies(model, tokenizer, asked, greedy, 4)
    for item in asked:
        ids = torch.tensor([prompt_ids(tokenizer, item.messages)])
        longest = WORD_TOKENS if item.task == "detect" else 40
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=longest,
            pad_token_id=0,
        )[0, ids.shape[1] :]
        text = tokenizer.decode(out, skip_special_tokens=True)
        assert found[item.id].text == text, item.id


def test_a_model_with_another_memory_is_refused() -> None:
    with pytest.raises(WmEvalError, match="more than keys and values"):
        prompt_cache(MambaConfig(num_hidden_layers=2))


def test_rows_keep_their_keys_through_any_coming_and_going(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against a list of each row's keys; three columns of slack make the rows move often."""
    monkeypatch.setattr(cache, "SLACK", 3)
    config = Qwen3Config(num_hidden_layers=2)
    rng, number, moves = random.Random(0), 0, 0
    rows = Rows(config, 5, 14, "cpu")
    expected: list[list[float]] = []
    for _ in range(400):
        room = 5 - len(expected)
        if room and (rng.random() < 0.4 or not expected):
            count = rng.randint(1, room)
            padded = torch.zeros(count, 9, dtype=torch.long)
            keys = torch.full((count, 1, 9, 1), -1.0)
            for row in range(count):
                # Padding at the front, and between an opening of two and the rest.
                real = [0, 1, *range(9 - rng.randint(1, 6), 9)]
                for column in real:
                    number += 1
                    keys[row, 0, column] = number
                padded[row, real] = 1
                expected.append(keys[row, 0, real, 0].tolist())
            layers = [PromptLayer(), PromptLayer()]
            for layer in layers:
                layer.update(keys, -keys)
            rows.add(Cache(layers=layers), padded)
        elif expected and rng.random() < 0.5:
            out = sorted(rng.sample(range(len(expected)), rng.randint(1, len(expected))))
            count = len(expected) - len(out)
            holes = [row for row in out if row < count]
            movers = [row for row in range(count, len(expected)) if row not in out]
            for hole, mover in zip(holes, movers, strict=True):
                expected[hole] = expected[mover]
            del expected[count:]
            rows.keep(holes, movers, count)
        elif expected and max(map(len, expected)) < 14:
            mask, end = rows.mask(), rows.end
            new = torch.arange(number + 1, number + 1 + len(expected)).float()
            number += len(expected)
            for own, key in zip(expected, new.tolist(), strict=True):
                own.append(key)
            for at in range(2):
                k, v = rows.cache.update(new.view(-1, 1, 1, 1), -new.view(-1, 1, 1, 1), at)
                assert k.shape[2] == mask.shape[1] == max(map(len, expected))
                for row, own in enumerate(expected):
                    assert k[row, 0, mask[row].bool(), 0].tolist() == own
                    assert v[row, 0, mask[row].bool(), 0].tolist() == [-x for x in own]
            rows.grown()
            moves += rows.end <= end
        assert rows.length.tolist() == list(map(len, expected))
    assert moves > 10, "the rows were never moved back"
