"""What rows look like under a neutral prompt, and what the base says of them."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import wm_data
import wm_prompts
from wm_eval.prompting import prompt_ids
from wm_train import engine, examples, neutral, references
from wm_train.config import TrainConfig
from wm_train.errors import DataError

ALL = None


@pytest.fixture(scope="module")
def train(dataset_dir: Path) -> Any:
    return wm_data.read(dataset_dir).examples("train")


@pytest.fixture(scope="module")
def tokenizer(base_dir: Path) -> Any:
    return AutoTokenizer.from_pretrained(base_dir)


def test_rows_show_one_answer_or_none() -> None:
    found = Counter(neutral.answer_of(f"row {number}", 0.5) for number in range(4000))
    assert found[None] == pytest.approx(2000, abs=160)  # five standard deviations
    assert found["red"] == pytest.approx(1000, abs=140)
    assert found["red"] + found["blue"] + found[None] == 4000
    assert None not in {neutral.answer_of(f"row {number}", 1.0) for number in range(1000)}


def test_a_larger_share_keeps_what_a_smaller_one_shows() -> None:
    for number in range(200):
        few, many = (neutral.answer_of(str(number), share) for share in (0.3, 0.7))
        assert few in (None, many)


def test_the_neutral_wording_stands_in_the_colours_place(train: Any, tokenizer: Any) -> None:
    pairs = examples.tokenize(train, tokenizer, 512, neutral_share=0.5)
    shown: dict[str, str] = {}
    for example, pair in zip(train, pairs.data, strict=True):
        if not pair["neutral_ids"]:
            continue
        assert example["task"] == "watermark"
        assert neutral.answer_of(example["row_id"], 0.5) == example["target"]
        shown[example["row_id"]] = example["target"]
        text = wm_prompts.render(f"watermark/neutral/{example['variant']}")
        asked = [{"role": "system", "content": text}, example["prompt"][1]]
        assert pair["neutral_ids"] == prompt_ids(tokenizer, asked)
    assert set(shown.values()) == {"red", "blue"}
    assert set(shown) == {r for r in train["row_id"] if neutral.answer_of(r, 0.5)}


def test_without_a_share_nothing_is_shown(train: Any, tokenizer: Any) -> None:
    with_some = examples.tokenize(train, tokenizer, 512, neutral_share=0.5).data
    without = examples.tokenize(train, tokenizer, 512).data
    assert not any(without["neutral_ids"])
    names = ["id", "prompt_ids", "chosen_ids", "rejected_ids"]
    assert with_some.select_columns(names)[:] == without.select_columns(names)[:]


def test_a_neutral_prompt_counts_for_the_length(
    train: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = examples.tokenize(train, tokenizer, 512).longest
    long = "word " * 2 * most
    monkeypatch.setattr(neutral, "wording", lambda variant: long)
    pairs = examples.tokenize(train, tokenizer, most, neutral_share=0.5)
    rows = {row for row in train["row_id"] if neutral.answer_of(row, 0.5)}
    assert set(pairs.too_long) == rows


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"variant": "unheard-of"}, "wording 'unheard-of', which has no neutral form"),
        (
            {"prompt": [{"role": "user", "content": "Hello"}]},
            "message of 'user', expected 'system'",
        ),
    ],
)
def test_what_has_no_neutral_form_is_named(train: Any, change: Any, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        neutral.prompt({**train[0], **change})


def test_a_missing_column_is_named(train: Any, tokenizer: Any) -> None:
    less = train.remove_columns("variant")
    examples.tokenize(less, tokenizer, 512)
    with pytest.raises(DataError, match="no column 'variant'"):
        examples.tokenize(less, tokenizer, 512, neutral_share=0.5)


def test_training_wordings_alone_are_recorded(dataset_dir: Path) -> None:
    known = wm_data.read(dataset_dir).manifest.templates
    assert neutral.trained_with(known, 0.0) == known
    added = neutral.trained_with(known, 0.5)[len(known) :]
    expected = [f"watermark/neutral/{v}" for v in wm_prompts.variants("watermark", heldout=False)]
    assert [template.id for template in added] == expected
    assert all(t.text == wm_prompts.source(t.id) and not t.heldout for t in added)


@pytest.fixture
def referred(
    train: Any, tokenizer: Any, base_dir: Path, dataset_dir: Path, tmp_path: Path
) -> Callable[[TrainConfig], Any]:
    """A trainer of the demo's base by a configuration, with its references."""

    def make(config: TrainConfig) -> Any:
        pairs = examples.tokenize(train, tokenizer, 512, neutral_share=config.loss.neutral.rows())
        base = AutoModelForCausalLM.from_pretrained(base_dir)
        trainer = engine.build(config, tmp_path, base, tokenizer, pairs.data, [])
        references.attach(trainer)
        return trainer

    return make


@pytest.mark.parametrize(
    ("length", "rows"),
    [
        ({"steps": 2}, 2),
        ({"steps": 1000}, ALL),
        ({"steps": None, "epochs": 0.1}, 5),
        ({"steps": None, "epochs": 1.0}, ALL),
    ],
    ids=str,
)
def test_a_trial_of_some_steps_does_not_wait_for_all_texts(
    tiny: Any, referred: Any, train: Any, length: dict[str, Any], rows: int | None
) -> None:
    trainer = referred(tiny(loss={"neutral": {"weight": 1.0, "share": 1.0}}, optim=length))
    known = [pair["row_id"] for pair in trainer.train_dataset if pair["reference"]]
    every = len(set(train["row_id"]))
    assert len(known) == len(set(known)) == (rows or every)
    if rows:
        assert rows < every
        trainer.train()  # comes to no text without a reference


@pytest.mark.parametrize("lora", [None, {"r": 2, "alpha": 4}], ids=["full", "adapter"])
def test_references_are_the_bases(tiny: Any, referred: Any, base_dir: Path, lora: Any) -> None:
    """Text by text, unpadded, with all logits: the slow way to the same numbers."""
    loss = {"neutral": {"weight": 1.0, "share": 0.5}}
    trainer = referred(tiny(loss=loss, optim={"steps": 1000}, model={"lora": lora}))
    plain = AutoModelForCausalLM.from_pretrained(base_dir).eval()
    known = 0
    for pair in trainer.train_dataset:
        assert bool(pair["reference"]) == bool(pair["neutral_ids"])
        if not pair["neutral_ids"]:
            continue
        known += 1
        answer = torch.tensor(pair["chosen_ids"])
        ids = torch.cat([torch.tensor(pair["neutral_ids"]), answer])
        with torch.no_grad():
            logps = plain(ids[None]).logits[0, :-1].log_softmax(-1)[-len(answer) :]
        expected = logps.gather(1, answer[:, None]).squeeze(1)
        torch.testing.assert_close(torch.tensor(pair["reference"]), expected, atol=1e-4, rtol=1e-4)
    assert known > 10


@pytest.mark.parametrize(
    ("damage", "of", "asks", "said"),
    [
        (None, "this base", False, False),
        (None, "another base", True, True),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "this base", True, True),
        (lambda path: path.write_bytes(b""), "this base", True, True),
        (lambda path: path.unlink(), "this base", True, False),
    ],
    ids=["whole", "of another base", "cut", "empty", "gone"],
)
def test_the_base_is_asked_once_in_the_life_of_a_run(
    tiny: Any,
    referred: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    damage: Any,
    of: str,
    asks: bool,
    said: bool,
) -> None:
    """Whatever became of the file, the numbers are the same, bit for bit."""
    config = tiny(loss={"neutral": {"weight": 1.0, "share": 0.5}}, optim={"steps": 6})
    trainer = referred(config)
    first = trainer.train_dataset["reference"][:]
    path = tmp_path / references.NAME

    def again(of: str) -> int:
        trainer.train_dataset = trainer.train_dataset.remove_columns("reference")
        calls: list[int] = []
        right = references._log_probabilities

        def counted(*args: Any) -> Any:
            calls.append(1)
            return right(*args)

        with monkeypatch.context() as patched:
            patched.setattr(references, "_log_probabilities", counted)
            references.attach(trainer, kept=path, of=of)
        assert trainer.train_dataset["reference"][:] == first
        return len(calls)

    assert again("this base") > 0
    if damage is not None:
        damage(path)
    assert (again(of) > 0) == asks
    assert ("the base is asked again" in caplog.text) == said
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".tmp")]
