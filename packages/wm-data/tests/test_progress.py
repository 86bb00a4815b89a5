"""What is shown where stderr is no terminal: a line now and then, so that a log is not silent."""

import pytest

from wm_data import progress


@pytest.mark.parametrize("total", [3, None])
def test_a_log_has_a_line_when_it_is_due(monkeypatch, capsys, total):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    assert list(progress.tracked("abc", "reading rows", True, total)) == ["a", "b", "c"]
    of = " of 3" if total else ""
    assert capsys.readouterr().err.splitlines() == [f"reading rows: {n}{of}" for n in (1, 2, 3)]


def test_a_log_has_no_line_of_what_is_quick(capsys):
    list(progress.tracked("abc", "reading rows", True))
    with progress.counting("rows", 2, True) as advance:
        advance(2)
    assert capsys.readouterr().err == ""


def test_nothing_is_shown_where_none_is_wanted(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    list(progress.tracked("abc", "reading rows", False))
    with progress.counting("rows", 2, False) as advance:
        advance(2)
    assert capsys.readouterr().err == ""


def test_what_is_moved_by_hand_has_lines_too(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with progress.counting("rows", 2_000, True) as advance:
        advance(1_500)
    assert capsys.readouterr().err == "rows: 1,500 of 2,000\n"
