"""How long an answer of an evaluation may be, where the config leaves it open."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import wm_data
from wm_train import presets
from wm_train.config import TrainConfig
from wm_train.stages import answer_tokens


@pytest.mark.parametrize("case", ["the config's", "by the gold", "by what is trained on"])
def test_answers_are_not_waited_for_longer_than_any_is_learnt(
    case: str, dataset_dir: Path, base_dir: Path
) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(base_dir)
    dataset = wm_data.read(dataset_dir)
    gold = [text for row in dataset.rows("test") for text in (row.red_answer, row.blue_answer)]
    longest = max(len(tokenizer.encode(text, add_special_tokens=False)) for text in gold)
    fields = presets.load("demo")
    expected = {"the config's": 9, "by the gold": longest * 3 // 2 + 16}.get(case, longest)
    if case == "the config's":
        fields["evaluation"]["max_new_tokens"] = expected
    if case == "by what is trained on":
        fields["data"]["max_tokens"] = expected
    assert answer_tokens(TrainConfig.model_validate(fields), dataset, tokenizer) == expected
