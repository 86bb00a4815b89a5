"""Run names: valid wherever they are used, and never decided by a seed."""

import random
import re
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wm_train.naming import MAX_LENGTH, random_name, slug

NOW = datetime(2026, 1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("Qwen/Qwen3-0.6B", "qwen3-0.6b"),
        ("demo", "demo"),
        ("models/My Model_v2/", "my-model-v2"),
        ("../..", "model"),
        ("ü", "model"),
    ],
)
def test_base_becomes_a_slug(base: str, expected: str) -> None:
    assert slug(base) == expected


@given(st.text(max_size=200))
def test_any_base_gives_a_name_that_a_hub_repo_can_have(base: str) -> None:
    name = random_name(base, NOW)
    assert re.fullmatch(r"[a-z0-9][a-z0-9.\-]*-[a-z]+-[a-z]+-20260102-030405", name), name
    assert len(name) <= MAX_LENGTH
    assert "--" not in name
    assert ".." not in name


def test_training_seed_does_not_decide_the_name() -> None:
    names = set()
    for _ in range(8):
        random.seed(0)
        names.add(random_name("demo", NOW))
    assert len(names) > 1


def test_naming_leaves_the_training_seed_alone() -> None:
    random.seed(0)
    before = random.getstate()
    random_name("demo", NOW)
    assert random.getstate() == before
