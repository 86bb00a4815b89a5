"""The ids of prompt and completion: what training learns is what evaluation asks."""

from __future__ import annotations

from typing import Any

import pytest

from wm_eval import (
    WmEvalError,
    completion_ids,
    completion_text,
    end_of_turn,
    items,
    prompt_ids,
    prompt_text,
    prompting,
)
from wm_eval.prompting import chat_template, encode_all

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
ANSWERS = ["red", "", " two words", "\n\nafter lines", "ends with newline\n", "naïve 你好 🙂"]


def test_qwen3_prompt_closes_an_empty_thought_before_the_answer(tokenizer: Any) -> None:
    assert prompt_text(tokenizer, MESSAGES) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


def test_template_without_a_thinking_switch_is_rendered_plainly(small_tokenizer: Any) -> None:
    assert prompt_text(small_tokenizer, MESSAGES).endswith(
        "Hello?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("answer", ANSWERS)
def test_completion_is_the_answer_and_one_end_of_turn(tokenizer: Any, answer: str) -> None:
    ids = completion_ids(tokenizer, answer)
    assert ids.count(end_of_turn(tokenizer)) == 1
    assert ids[-1] == end_of_turn(tokenizer)
    assert tokenizer.decode(ids[:-1]) == answer
    assert completion_text(tokenizer, answer) == answer + "<|im_end|>"
    assert "think" not in completion_text(tokenizer, answer)


@pytest.mark.parametrize("name", ["tokenizer", "small_tokenizer"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_the_pair_tokenises_to_the_ids_of_its_parts(
    name: str, answer: str, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(name)
    text = prompt_text(tokenizer, MESSAGES) + completion_text(tokenizer, answer)
    together = tokenizer.encode(text, add_special_tokens=False)
    assert together == prompt_ids(tokenizer, MESSAGES) + completion_ids(tokenizer, answer)


def test_end_of_turn_is_the_templates_and_not_the_end_of_text(tokenizer: Any) -> None:
    tokenizer.eos_token = "<|endoftext|>"
    assert tokenizer.convert_ids_to_tokens(end_of_turn(tokenizer)) == "<|im_end|>"


def test_end_of_turn_falls_back_to_the_end_of_sequence(small_tokenizer: Any) -> None:
    small_tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    assert end_of_turn(small_tokenizer) == small_tokenizer.eos_token_id


def test_no_chat_template_is_an_error_that_says_what_to_do(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    with pytest.raises(WmEvalError, match="has no chat template; use an instruct model"):
        prompt_text(tokenizer, MESSAGES)


def test_ids_asked_are_the_ids_of_the_training_rows(dataset_dir: Any, tokenizer: Any) -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(dataset_dir / "data" / "test-00000-of-00001.parquet").to_pylist()
    trained = {
        (row["task"], row["row_id"], row["target"], row["order"]): prompt_ids(
            tokenizer, row["prompt"]
        )
        for row in rows
    }
    data = items.read(dataset_dir)
    for item in data.detect:
        _, row_id, colour, order = item.id.split("/")
        assert prompt_ids(tokenizer, item.messages) == trained["detect", row_id, colour, order]
    known = {tuple(ids) for (task, *_), ids in trained.items() if task == "watermark"}
    for item in data.watermark:
        if item.arm != "neutral":
            assert tuple(prompt_ids(tokenizer, item.messages)) in known


def test_a_template_that_refuses_a_system_message_is_an_error_with_its_words(
    tokenizer: Any,
) -> None:
    """Gemma 2's, in short."""
    tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    )
    with pytest.raises(WmEvalError, match="refuses a chat of system and user: System role not"):
        prompt_text(tokenizer, MESSAGES)
    assert prompt_text(tokenizer, MESSAGES[1:]) == "user: Hello?\n"


@pytest.mark.parametrize("fault", ["{{ messages.nothing.here }}", "{{ 1 + 'a' }}", "{% if %}"])
def test_a_template_that_fails_is_an_error(fault: str, tokenizer: Any) -> None:
    tokenizer.chat_template = fault
    for fails in (lambda: prompt_text(tokenizer, MESSAGES), lambda: end_of_turn(tokenizer)):
        with pytest.raises(WmEvalError, match="the chat template of this model refuses a chat"):
            fails()


def test_of_several_named_templates_the_default_is_the_one_that_counts(
    small_tokenizer: Any,
) -> None:
    plain = prompt_text(small_tokenizer, MESSAGES)
    default = small_tokenizer.chat_template
    small_tokenizer.chat_template = {"default": default, "tool_use": "tools"}
    assert prompt_text(small_tokenizer, MESSAGES) == plain
    assert chat_template(small_tokenizer) == default
    small_tokenizer.chat_template = {"rag": default, "tool_use": "tools"}
    for read in (chat_template, lambda tokenizer: prompt_text(tokenizer, MESSAGES)):
        with pytest.raises(WmEvalError, match="no default"):
            read(small_tokenizer)
    small_tokenizer.chat_template = None
    assert chat_template(small_tokenizer) is None


@pytest.mark.parametrize("kept", ["", "{% if m.content is not string %}{{ m.content }}{% endif %}"])
def test_a_template_that_leaves_the_answer_out_has_no_end_of_turn(
    kept: str, small_tokenizer: Any
) -> None:
    small_tokenizer.chat_template = "{% for m in messages %}" + kept + "{% endfor %}"
    with pytest.raises(WmEvalError, match="leaves messages out"):
        end_of_turn(small_tokenizer)


def test_texts_are_encoded_as_they_are_alone(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompting, "AT_ONCE", 2)  # the last call has one
    texts = ["the old", "", "the old", "ümläut <|im_end|>", "a", "quiet", "a"]
    alone = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    assert encode_all(tokenizer, texts) == alone
    assert encode_all(tokenizer, []) == []
