"""The files of one evaluation are read together, and those of two are not."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wm_eval import WmEvalError, folder
from wm_eval.cli import main
from wm_eval.compare import compare
from wm_eval.folder import REPORT, SAMPLES, SUMS, TABLE
from wm_eval.generator import Request
from wm_eval.page import write_page
from wm_manifest import EvalReport

Run = Callable[..., EvalReport]
Gold = Callable[[Request], str]
Change = Callable[[Path, Path], object]  # of a folder, with the files of another evaluation


def take(*names: str) -> Change:
    """Files of the other evaluation in the place of the folder's own."""
    return lambda own, other: [shutil.copy(other / name, own / name) for name in names]


def both(*changes: Change) -> Change:
    return lambda own, other: [change(own, other) for change in changes]


def forget(own: Path, other: Path) -> None:
    """As an earlier wm-eval wrote it."""
    (own / SUMS).unlink()


def edit(own: Path, other: Path) -> None:
    text = (own / SAMPLES).read_text(encoding="utf-8")
    (own / SAMPLES).write_text(text.replace('"passed": true', '"passed": false', 1))


@pytest.fixture
def own_and_other(run_script: Run, gold: Gold, tmp_path: Path) -> tuple[Path, Path]:
    """Two evaluations of the same items, of a model that is right and one that says nothing."""
    run_script(gold, out=tmp_path / "own")
    run_script(lambda request: "", out=tmp_path / "other")
    return tmp_path / "own", tmp_path / "other"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (take(SAMPLES), f"not as in {SUMS}: {SAMPLES};"),
        (take(REPORT), f"not as in {SUMS}: {REPORT};"),
        (take(REPORT, SUMS), f"not as in {SUMS}: {SAMPLES};"),
        (take(REPORT, SAMPLES), f"not as in {SUMS}: {REPORT} and {SAMPLES};"),
        (edit, f"not as in {SUMS}: {SAMPLES};"),
        (lambda own, other: (own / SUMS).write_bytes(b"\xff"), f"not as in {SUMS}: "),
        (both(take(SAMPLES), forget), f"{SAMPLES} lacks answers that {REPORT} shows"),
    ],
    ids=["samples", "report", "report and hashes", "both", "edited", "no hashes in it", "before"],
)
def test_a_report_and_samples_of_two_evaluations_are_refused(
    change: Change,
    said: str,
    own_and_other: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    own, other = own_and_other
    change(own, other)
    for words in (["report", own], ["compare", own, other], ["compare", other, own]):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{own} has files of more than one evaluation" in line
        assert said in line
    assert not (own / "report.html").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda own, other: None, ""),
        (lambda own, other: (own / TABLE).unlink(), ""),
        (forget, f"own has no {SUMS}"),
        (take(TABLE), f"{TABLE} is not as it was written"),
        (take(REPORT, SAMPLES, TABLE, SUMS), ""),
    ],
    ids=["whole", "no table", "of an earlier version", "another table", "a whole copy"],
)
def test_what_belongs_together_is_read_and_what_is_not_known_is_said(
    change: Change,
    said: str,
    own_and_other: tuple[Path, Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    own, other = own_and_other
    change(own, other)
    with caplog.at_level(logging.WARNING):
        assert write_page(own).is_file()
        assert compare(own, other)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == (2 if said else 0)
    assert all(said in line for line in lines)


def test_a_kill_while_the_files_are_written_leaves_no_mixture(
    own_and_other: tuple[Path, Path],
    run_script: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, _ = own_and_other

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folder, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            run_script(lambda request: "other", out=own)
    with pytest.raises(WmEvalError, match="more than one evaluation"):
        write_page(own)
    run_script(lambda request: "other", out=own)
    assert write_page(own).is_file()


def test_the_hashes_are_those_of_sha256sum(own_and_other: tuple[Path, Path]) -> None:
    own, _ = own_and_other
    said = subprocess.run(["sha256sum", "-c", SUMS], cwd=own, capture_output=True, check=True)
    assert said.stdout.decode().splitlines() == [f"{n}: OK" for n in (REPORT, SAMPLES, TABLE)]


def test_plots_of_an_earlier_evaluation_do_not_stay(
    own_and_other: tuple[Path, Path], run_script: Run
) -> None:
    own, _ = own_and_other
    write_page(own)
    assert list(own.glob("plots/*.svg"))
    (own / "plots" / "mine.txt").write_text("")
    run_script(lambda request: "", out=own)
    assert [path.name for path in own.glob("plots/*")] == ["mine.txt"]
