"""What is shown where stderr is no terminal: a line now and then, so that a log is not silent."""

import pytest

from wm_eval import progress


def test_a_log_has_a_line_when_it_is_due(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with progress.progress_bar(1_500, True) as advance:
        advance(24)
        advance(1_000)
        advance(476)  # the last: what comes of it is said then
    assert capsys.readouterr().err.splitlines() == [
        "evaluating: 24 of 1,500 after 0 s",
        "evaluating: 1,024 of 1,500 after 0 s",
    ]


@pytest.mark.parametrize(("shown", "every_s"), [(False, 0.0), (True, 30.0)])
def test_a_log_has_no_line_where_none_is_wanted_or_due(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shown: bool,
    every_s: float,
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", every_s)
    with progress.progress_bar(2, shown) as advance:
        advance(2)
    assert capsys.readouterr().err == ""
