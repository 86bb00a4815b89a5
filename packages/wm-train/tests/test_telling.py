"""What a preparation shows in a log file: a line now and then, and no bar."""

import io

import pytest
from rich.console import Console

from wm_train import telling


def told(monkeypatch: pytest.MonkeyPatch, every_s: float, terminal: bool = False) -> str:
    monkeypatch.setattr(telling, "LINE_EVERY_S", every_s)
    out = io.StringIO()
    console = Console(file=out, width=30, force_terminal=terminal)
    with telling.telling(console, "tokenising", 3_000, "pairs") as advance:
        for _ in range(3):
            advance(1_000)
    return out.getvalue()


def test_a_log_has_a_line_when_it_is_due_and_none_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = told(monkeypatch, 0.0).split("\n")  # none is broken at the width
    assert [line for line in lines if line] == [
        "tokenising: 1,000 of 3,000 pairs",
        "tokenising: 2,000 of 3,000 pairs",
    ]


def test_what_is_quick_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, 30.0).strip() == ""


def test_a_terminal_has_a_bar_and_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = told(monkeypatch, 0.0, terminal=True)
    assert "tokenising" in shown
    assert "of 3,000 pairs" not in shown
