"""Edits change what they say and no more, and are the same each time."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from wm_eval.generator import Request
from wm_eval.metrics.robustness import EDITS, drop_words
from wm_manifest import EvalReport


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_about_the_share_of_words_is_dropped_and_the_rest_keeps_its_order(share: float) -> None:
    words = [f"w{i}" for i in range(10_000)]
    left = drop_words(share)(" ".join(words), random.Random(0)).split(" ")
    assert 1 - len(left) / len(words) == pytest.approx(share, abs=0.012)  # 3 standard errors
    assert left == [word for word in words if word in set(left)]


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("text", ["", " ", "one", "two\n\nlines  of\ttext ", "İstanbul ﬁsh"])
def test_an_edit_takes_any_text(edit: str, text: str) -> None:
    edited = EDITS[edit](text, random.Random(0))
    assert set(edited.lower()) <= set(text.lower())


def test_words_are_dropped_alike_in_two_evaluations(
    run_script: Callable[..., EvalReport], gold: Callable[[Request], str], tmp_path: Path
) -> None:
    first, second = run_script(gold), run_script(gold)
    names = [name for name in first.figures if "/edited/" in name]
    assert len(names) == len(EDITS) * 4  # red, blue, and neutral for either colour
    assert [first.figures[n] for n in names] == [second.figures[n] for n in names]
