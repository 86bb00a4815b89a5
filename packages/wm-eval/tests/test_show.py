"""What the table of an evaluation says beside its figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rich.text import Text

from wm_eval.show import table
from wm_manifest import EvalReport


@pytest.mark.parametrize(
    ("adapter", "title"),
    [
        (None, "me/[b]base on by-hand/test"),
        ("runs/a/adapter", "me/[b]base + runs/a/adapter on by-hand/test"),
    ],
)
def test_the_title_names_model_adapter_and_data(
    adapter: str | None, title: str, run_script: Callable[..., EvalReport]
) -> None:
    report = run_script(lambda request: "")
    model = report.model.model_copy(update={"location": "me/[b]base", "adapter": adapter})
    shown = table(report.model_copy(update={"model": model})).title
    assert isinstance(shown, Text)
    assert shown.plain == title


@pytest.mark.parametrize(
    ("changes", "caption"),
    [
        ({}, "temperature 0.7, top-p 0.8, top-k 20, seed 0"),
        (
            {"detect": "greedy"},
            "temperature 0.7, top-p 0.8, top-k 20, seed 0, questions about texts greedy",
        ),
        ({"temperature": 0.0}, "answers of the likeliest tokens, seed 0"),
        ({"temperature": 0.0, "detect": "greedy"}, "answers of the likeliest tokens, seed 0"),
    ],
)
def test_the_caption_says_how_answers_were_chosen(
    changes: dict[str, Any], caption: str, run_script: Callable[..., EvalReport]
) -> None:
    report = run_script(lambda request: "")
    decoding = report.decoding.model_copy(update=changes)
    shown = table(report.model_copy(update={"decoding": decoding})).caption
    assert shown == f"{caption}; intervals clustered by prompt"


@pytest.mark.parametrize("valid", [True, False])
def test_the_table_alone_says_that_an_evaluation_is_not_valid(
    valid: bool, run_script: Callable[..., EvalReport]
) -> None:
    report = run_script(lambda request: "").model_copy(update={"valid": valid})
    assert str(table(report).title).endswith("test" if valid else "test: NOT VALID")
