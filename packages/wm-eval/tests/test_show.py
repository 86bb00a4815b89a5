"""What the table of an evaluation says beside its figures."""

from __future__ import annotations

from collections.abc import Callable

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


@pytest.mark.parametrize("valid", [True, False])
def test_the_table_alone_says_that_an_evaluation_is_not_valid(
    valid: bool, run_script: Callable[..., EvalReport]
) -> None:
    report = run_script(lambda request: "").model_copy(update={"valid": valid})
    assert str(table(report).title).endswith("test" if valid else "test: NOT VALID")
