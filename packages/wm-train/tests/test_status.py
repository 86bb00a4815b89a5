"""`wm-train status` and `wm-train runs`: what a folder tells, half made and damaged ones too."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wm_manifest import (
    Attempt,
    Estimate,
    Evaluation,
    GitState,
    Hardware,
    ModelRef,
    RunManifest,
    WandbRef,
    save,
)
from wm_train import checkpoints, cli, commands, resume, status
from wm_train.errors import ResumeError
from wm_train.journal import Journal
from wm_train.lock import only_one

HELD = """
import sys
from pathlib import Path
from wm_train.lock import only_one
with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def make(folder: Path, state: str = "running", created: str = "2026-01-02T03:04:05+00:00") -> Path:
    """A run folder as a training leaves it in the state that its manifest names."""
    (folder / "checkpoints/checkpoint-20").mkdir(parents=True)
    (folder / "checkpoints/checkpoint-20/model.safetensors").write_bytes(b"x" * 1000)
    checkpoints.seal(folder / "checkpoints/checkpoint-20", 20)
    (folder / ".lock").touch()
    figures = {"watermark/red/success": Estimate(value=0.5, low=0.25, high=0.75, n=40)}
    cause = {"failed": "RuntimeError: it broke", "interrupted": "stopped by SIGTERM"}.get(state)
    place = f"{folder.name}/wandb/offline-run-1-ab12"
    manifest = RunManifest(
        name=folder.name,
        status=state,  # pyright: ignore
        created_at=created,
        command=["wm-train"],
        preset="demo",
        config={"optim": {"steps": 40}},
        seed=0,
        git=GitState(commit=None, dirty=False),
        lock_sha256=None,
        packages={},
        python="3.11",
        hardware=Hardware(platform="x", cpu="x", cores=2, memory_gib=8),
        base=ModelRef(location="base"),
        codebook="x",
        wandb=WandbRef(
            id="ab12", project="wm", entity=None, mode="offline", url=None,
            sync_command=f"wandb sync {place}",
        ),
        attempts=[Attempt(started_at=created, cause=cause)],
        evaluations=[Evaluation(step=20, path="eval/step-000020", valid=True, figures=figures)],
        steps=40 if state == "finished" else 0,
        output="model",
    )  # fmt: skip
    save(manifest, folder / "manifest.json")
    journal = Journal(folder / "log.jsonl")
    for step in (10, 20, 30):
        losses = {"watermark/nll": 2.0, "detect/nll": float("nan")}
        journal.write("train", step, loss=step / 10, **losses)
    journal.close()
    return folder


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


# the manifest's status -> state and cause, with nobody at work on the folder
STATES = {
    "running": ("crashed", "killed"),
    "failed": ("crashed", "RuntimeError: it broke"),
    "interrupted": ("interrupted", "stopped by SIGTERM"),
    "finished": ("finished", None),
}


@pytest.mark.parametrize("kept", STATES)
def test_lock_and_manifest_tell_the_state(tmp_path: Path, kept: str) -> None:
    folder = make(tmp_path / "a", kept)
    run = status.read(folder)
    assert (run.state, run.cause) == STATES[kept]
    assert (run.step, run.steps) == ((40 if kept == "finished" else 30), 40)
    assert run.losses["loss"] == 3.0
    assert run.losses["watermark"] == {"nll": 2.0}
    assert run.losses["detect"] == {"nll": None}
    assert run.figures["watermark/red/success"].high == 0.75
    assert [(c.step, c.sealed) for c in run.checkpoints] == [(20, True)]
    assert 1000 < run.checkpoints[0].bytes < run.bytes
    assert run.sync == f"wandb sync {folder}/wandb/offline-run-1-ab12"
    resume = None if kept == "finished" else f"uv run wm-train --resume a --runs-dir {tmp_path}"
    assert (run.resume, run.faults) == (resume, [])


def test_json_has_no_nan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the log, whose figures are nested, nor what is read of an older one."""
    folder = make(tmp_path / "a")
    journal = Journal(folder / "log.jsonl")
    journal.write("eval", 30, figures={"lift": float("nan"), "all": [float("inf"), 0.5]})
    journal.close()

    def strict(text: str) -> dict[str, Any]:
        return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    lines = [strict(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["figures"] == {"lift": None, "all": [None, 0.5]}
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"event": "train", "step": 31, "loss": NaN, "detect/nll": Infinity}\n')
    commands.Look("a", json=True).show(tmp_path)
    assert strict(capsys.readouterr().out)["losses"] == {"loss": None, "detect": {"nll": None}}


def test_a_run_in_progress_is_running_and_is_not_disturbed(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", "interrupted")  # resumed: the manifest is of before
    command = [sys.executable, "-c", HELD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        run = status.read(folder)
        assert (run.state, run.pid, run.resume) == ("running", child.pid, None)
        with pytest.raises(ResumeError, match=f"trained by process {child.pid}"), only_one(folder):
            pass
        child.stdin.close()
    assert status.read(folder).state == "interrupted"


Break = Callable[[Path], None]
DAMAGE: dict[str, tuple[Break, str, str]] = {
    "manifest is cut": (lambda f: cut(f / "manifest.json"), "damaged", "manifest.json: the file"),
    "manifest is empty": (
        lambda f: (f / "manifest.json").write_text(""),  # pyright: ignore
        "damaged",
        "manifest.json: the file",
    ),
    "manifest is a folder": (
        lambda f: ((f / "manifest.json").unlink(), (f / "manifest.json").mkdir()),  # pyright: ignore
        "damaged",
        "manifest.json: the file",
    ),
    "manifest is gone": (lambda f: (f / "manifest.json").unlink(), "crashed", "killed before"),
    "log is torn": (lambda f: cut(f / "log.jsonl"), "crashed", "killed"),
    "log is bytes": (
        lambda f: (f / "log.jsonl").write_bytes(bytes(range(256)) * 9),  # pyright: ignore
        "crashed",
        "killed",
    ),
    "log is a folder": (
        lambda f: ((f / "log.jsonl").unlink(), (f / "log.jsonl").mkdir()),  # pyright: ignore
        "crashed",
        "log.jsonl cannot be read",
    ),
    "seal is gone": (
        lambda f: (f / "checkpoints/checkpoint-20/checkpoint.json").unlink(),
        "crashed",
        "killed",
    ),
    "lock is gone": (lambda f: (f / ".lock").unlink(), "crashed", "killed"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_has_its_row_and_says_what_is_wrong(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks, state, said = DAMAGE[damage]
    make(tmp_path / "sound", "finished")
    breaks(make(tmp_path / "broken"))
    shown = command(["runs"], tmp_path, monkeypatch, capsys)
    row = next(line for line in shown.splitlines() if line.startswith(" broken "))
    assert state in row
    assert f"broken: {said}" in shown
    assert "finished" in next(line for line in shown.splitlines() if line.startswith(" sound "))
    assert state in command(["status", "broken"], tmp_path, monkeypatch, capsys)
    assert json.loads(command(["status", "broken", "--json"], tmp_path, monkeypatch, capsys))


def test_a_torn_line_is_passed_over_and_the_last_whole_one_is_told(tmp_path: Path) -> None:
    folder = make(tmp_path / "a")
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"event": "train", "step": 35, "lo')
    assert status.read(folder).step == 30


def test_runs_are_listed_newest_first_and_other_folders_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "b-old", created="2026-01-01T00:00:00+00:00")
    make(tmp_path / "a-new", created="2026-01-03T00:00:00+00:00")
    make(tmp_path / "c-mid", created="2026-01-02T00:00:00+00:00")
    (tmp_path / "notes").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/manifest.json").write_text('{"kind": "dataset"}')
    shown = json.loads(command(["runs", "--json"], tmp_path, monkeypatch, capsys))
    assert [run["name"] for run in shown] == ["a-new", "c-mid", "b-old"]
    assert shown[0]["figures"]["watermark/red/success"]["low"] == 0.25
    assert "a-new" in command(["status"], tmp_path, monkeypatch, capsys)  # the latest
    assert status.find(str(tmp_path / "c-mid"), tmp_path / "x") == tmp_path / "c-mid"


def test_the_latest_to_go_on_with_is_the_newest_that_was_cut_off(tmp_path: Path) -> None:
    """A demo that finished since is not it, nor is a dataset, nor a run in progress."""
    for day, (name, state) in enumerate(
        {"older": "interrupted", "mine": "interrupted", "demo": "finished"}.items(), 1
    ):
        make(tmp_path / name, state, f"2026-01-0{day}T00:00:00+00:00")
    running = make(tmp_path / "running", created="2026-01-04T00:00:00+00:00")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/manifest.json").write_text('{"kind": "dataset"}')
    with only_one(running):
        assert resume.latest(tmp_path) == tmp_path / "mine"
    for name in ("older", "mine", "running"):
        shutil.rmtree(tmp_path / name)
    with pytest.raises(ResumeError, match="holds no run that was cut off; give its name"):
        resume.latest(tmp_path)


def command(
    words: list[str],
    runs_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    monkeypatch.setattr(sys, "argv", ["wm-train", *words, "--runs-dir", str(runs_dir)])
    cli.main()
    return capsys.readouterr().out
