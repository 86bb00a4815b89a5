"""A finished evaluation is not replaced by another one unasked; a killed one goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wm_eval.cli import main
from wm_eval.partial import NAME
from wm_manifest import EvalReport, save

Prepare = Callable[[Path, EvalReport], object]


def finished(folder: Path, report: EvalReport) -> None:
    model = report.model.model_copy(update={"location": "me/base", "adapter": "runs/a/adapter"})
    fields = {"model": model, "started_at": "2026-01-31T10:00:00+00:00"}
    save(report.model_copy(update=fields), folder / "eval.json")


def undated(folder: Path, report: EvalReport) -> None:
    save(report.model_copy(update={"started_at": None}), folder / "eval.json")


def unreadable(folder: Path, _: EvalReport) -> None:
    (folder / "eval.json").write_text('{"of": "another version"}')


def killed(folder: Path, _: EvalReport) -> None:
    (folder / NAME).write_text("")


PASSED = "/nowhere/model does not exist"  # what is looked at next


@pytest.mark.parametrize(
    ("prepare", "options", "said"),
    [
        (finished, [], "the finished evaluation of 2026-01-31 of me/base + runs/a/adapter; give"),
        (undated, [], "the finished evaluation of a script; give another --out, or --overwrite"),
        (unreadable, [], "holds an eval.json that this version cannot read; give another --out"),
        (finished, ["--overwrite"], PASSED),
        (unreadable, ["--overwrite"], PASSED),
        (killed, [], PASSED),
        (lambda *_: None, [], PASSED),
    ],
    ids=["finished", "undated", "unreadable", "overwritten", "overwritten too", "killed", "empty"],
)
def test_a_finished_evaluation_is_refused_before_any_work(
    prepare: Prepare,
    options: list[str],
    said: str,
    run_script: Callable[..., EvalReport],
    dataset_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare(tmp_path, run_script(lambda request: ""))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit) as stop:
        main(["--model", "/nowhere/model", "--data", str(dataset_dir), "--out", str(tmp_path),
              *options])  # fmt: skip
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert (f"--out {tmp_path} holds" in line) == (said != PASSED)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_library_and_a_training_replace_theirs(
    run_script: Callable[..., EvalReport], tmp_path: Path
) -> None:
    for _ in range(2):
        assert run_script(lambda request: "", out=tmp_path).model.location == "a script"
