"""The whole loop across packages on a few rows: train, evaluate again, prepare a release."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import wm_data
from wm_manifest import EvalReport, RunManifest, load

SMALL = (
    *("--data.limit", "60", "--optim.steps", "2", "--log_every", "1"),
    *("--evaluation.limit", "1", "--evaluation.full_limit", "3"),
    *("--evaluation.max_new_tokens", "12", "--checkpoint.every", "2"),
)


def call(*command: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run one of our commands as a user would, and expect its exit code."""
    script = Path(sys.executable).parent / command[0]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "HF_HUB_OFFLINE": "1", "COLUMNS": "80"}
    env["OMP_NUM_THREADS"] = "1"  # as everywhere in the tests: two workers share the cores
    done = subprocess.run(
        [str(script), *command[1:]], cwd=cwd, env=env, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == code, done.stderr
    return done


@dataclass(frozen=True)
class Run:
    """A finished run: where it was started, its folder, what it told the user."""

    home: Path
    folder: Path
    said: str


@pytest.fixture(scope="module", params=[pytest.param("full", marks=pytest.mark.slow), "lora"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp(request.param)
    # One of the two with an absolute path, which must not be published.
    lora = ("--model.lora.r", "4", "--runs-dir", str(folder / "runs"))
    lora = lora if request.param == "lora" else ()
    done = call("wm-train", "--preset", "demo", "--name", "tiny", *SMALL, *lora, cwd=folder)
    assert "95 % CI" in done.stderr
    return Run(folder, folder / "runs/tiny", done.stderr)


def test_the_printed_command_gives_the_figures_of_training(run: Run) -> None:
    """Word for word as the run's last lines tell a user to type it."""
    [line] = [line for line in run.said.splitlines() if "uv run wm-eval" in line]
    command = line.split("uv run ")[1].split()
    call(*command, "--out", "again", cwd=run.home)
    again = load(EvalReport, run.home / "again/eval.json")
    inside = load(RunManifest, run.folder / "manifest.json").evaluations[-1].figures
    assert {"watermark/red/success", "detect/accuracy", "detect/both_orders"} <= set(inside)
    # A full fine-tune has no base at hand to weigh its answers; the command loads one.
    more = {name for name in again.figures if "/base_ppl" in name} - set(inside)
    assert {name: figure for name, figure in again.figures.items() if name not in more} == inside
    assert bool(more) == (run.home.name.startswith("full"))


def test_a_dry_run_lists_what_would_go_up(run: Run) -> None:
    done = call("wm-publish", "runs/tiny", "--dry-run", cwd=run.home)
    listed = done.stdout + done.stderr
    for name in ("README.md", "wm_manifest.json", "eval.json", "learning-curves.png"):
        assert name in listed
    assert ".safetensors" in listed
    assert "optimizer" not in listed


def test_nothing_of_this_machine_is_in_the_release(run: Run) -> None:
    call("wm-publish", "runs/tiny", cwd=run.home, code=1)  # no token: staged, not uploaded
    here = str(run.home)
    for path in (run.folder / "publish").rglob("*"):
        if path.is_file():
            assert here.encode() not in path.read_bytes(), path


def test_the_card_has_the_figures_of_the_manifest(run: Run) -> None:
    manifest = load(RunManifest, run.folder / "manifest.json")
    card = (run.folder / "README.md").read_text("utf-8")
    assert manifest.name in card
    red = manifest.evaluations[-1].figures["watermark/red/success"]
    assert f"{red.n}" in card


def test_samples_have_their_colours(run: Run) -> None:
    manifest = load(RunManifest, run.folder / "manifest.json")
    written = [s for s in manifest.samples if s.task == "watermark" and s.answer]
    assert written
    for sample in written:
        assert "".join(piece.text for piece in sample.pieces) == sample.answer
        assert {piece.colour for piece in sample.pieces} <= {"red", "blue", "ignored"}


def test_the_card_marks_the_texts_that_were_to_be_judged(run: Run) -> None:
    manifest = load(RunManifest, run.folder / "manifest.json")
    rows = wm_data.read(run.folder / "dataset").rows("test")
    texts = {text for row in rows for text in (row.red_answer, row.blue_answer)}
    judged = [s for s in manifest.samples if s.task == "detect"]
    assert judged
    for sample in judged:
        text = "".join(piece.text for piece in sample.pieces)
        assert text in texts
        assert text in sample.prompt
    card = (run.folder / "README.md").read_text("utf-8")
    assert re.search(r"<blockquote>[^\n]*<(b|ins)>[^\n]*</blockquote>", card)


def test_every_line_of_the_log_is_json_with_a_step(run: Run) -> None:
    lines = (run.folder / "log.jsonl").read_text("utf-8").splitlines()
    assert lines
    for line in map(json.loads, lines):
        assert isinstance(line["step"], int)
        assert line["event"] in ("start", "train", "eval", "checkpoint")
