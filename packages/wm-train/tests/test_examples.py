"""What the trainer is fed: whole rows, ids as evaluation sees them, nothing cut."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

import wm_data
from wm_eval.prompting import prompt_ids
from wm_train import examples
from wm_train.errors import DataError
from wm_train.examples import tokenize


@pytest.fixture(scope="module")
def train(dataset_dir: Path):
    return wm_data.read(dataset_dir).examples("train")


@pytest.fixture(scope="module")
def tokenizer(base_dir: Path):
    return AutoTokenizer.from_pretrained(base_dir)


def test_labels_are_the_answer_and_one_end_token(train, tokenizer) -> None:
    pairs = tokenize(train, tokenizer, 512)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert len(pairs.data) == len(train)
    for example, pair in zip(train, pairs.data, strict=True):
        for side in ("chosen", "rejected"):
            labels = pair[f"{side}_ids"]
            assert labels[-1] == end
            assert end not in labels[:-1]
            assert tokenizer.decode(labels[:-1]) == example[side][0]["content"]


def test_prompt_ids_are_those_of_evaluation(train, tokenizer) -> None:
    pairs = tokenize(train, tokenizer, 512)
    for example, pair in zip(train, pairs.data, strict=True):
        assert pair["prompt_ids"] == prompt_ids(tokenizer, example["prompt"])


def test_batches_are_not_seen(train, tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tokenize(train, tokenizer, 512).data
    monkeypatch.setattr(examples, "BATCH", 7)  # rows are cut in the middle
    assert tokenize(train, tokenizer, 512).data[:] == whole[:]


def test_too_long_rows_go_whole_and_are_named(train, tokenizer) -> None:
    everything = tokenize(train, tokenizer, 512)
    pairs = tokenize(train, tokenizer, everything.longest - 1)
    assert pairs.too_long
    assert set(pairs.data["row_id"]).isdisjoint(pairs.too_long)
    assert len(set(pairs.data["row_id"])) + len(pairs.too_long) == len(set(train["row_id"]))
    assert pairs.longest < everything.longest
    lengths = [len(pair["prompt_ids"] + pair["chosen_ids"]) for pair in pairs.data]
    assert max(lengths) <= pairs.longest


def test_nothing_left_is_an_error(train, tokenizer) -> None:
    with pytest.raises(
        DataError, match=r"all .* training rows are longer than data.max_tokens = 9"
    ):
        tokenize(train, tokenizer, 9)


def test_a_missing_column_is_named(train, tokenizer) -> None:
    with pytest.raises(DataError, match="no column 'task'"):
        tokenize(train.remove_columns("task"), tokenizer, 512)
