"""The command in two processes of a launcher: the evaluation of one, and one line of what is wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wm_eval import WmEvalError, launched
from wm_eval.models import Names

QUICK = ["--limit", "4", "--max-new-tokens", "6", "--batch-size", "2"]


def run(processes: int, *arguments: Any) -> subprocess.CompletedProcess[str]:
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return subprocess.run(
        [sys.executable, *launch, "-m", "wm_eval", *map(str, arguments), *QUICK],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
    )


@pytest.fixture
def model_folder(make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    make_model().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_two_processes_evaluate_as_one(
    model_folder: Path, dataset_dir: Path, tmp_path: Path
) -> None:
    asked = ("--model", model_folder, "--base", model_folder, "--data", dataset_dir)
    said: dict[int, str] = {}
    for processes in (1, 2):
        done = run(processes, *asked, "--out", tmp_path / f"{processes}")
        assert done.stdout.count("written: ") == 1, done.stderr  # the first process alone says so
        said[processes] = done.stdout.replace(str(tmp_path / f"{processes}"), "OUT")
    assert said[1] == said[2]
    kept = [(tmp_path / name / "samples.jsonl").read_bytes() for name in ("1", "2")]
    assert kept[0] == kept[1]
    reports = [json.loads((tmp_path / name / "eval.json").read_text()) for name in ("1", "2")]
    for report in reports:
        del report["started_at"], report["seconds"]
    assert reports[0] == reports[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"--data": "nowhere"}, "nowhere is no dataset folder"),
        ({"--model": "./nothing"}, "./nothing"),
        ({"--backend": "vllm"}, "vllm"),
    ],
)
def test_what_is_wrong_is_said_once(
    model_folder: Path, dataset_dir: Path, wrong: dict[str, str], said: str
) -> None:
    asked = {"--model": str(model_folder), "--data": str(dataset_dir)} | wrong
    done = run(2, *(word for pair in asked.items() for word in pair))
    assert done.returncode == 1  # the launcher's
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert said in line
    assert "wm_eval/" not in done.stderr  # no traceback of ours


class Told:
    """A talk in which the first process says one word and no more."""

    def __init__(self, word: Any) -> None:
        self.words = [word]

    def gathered(self, value: Any) -> list[Any]:
        return [self.words.pop() if self.words else None, value]


@pytest.mark.parametrize(("word", "loads"), [(None, 0), (launched.LOAD, 1)])
def test_a_process_that_helps_loads_nothing_where_the_first_one_has_refused(
    monkeypatch: pytest.MonkeyPatch, word: str | None, loads: int
) -> None:
    asked: list[Names] = []

    def opened(names: Names, *_: Any) -> Any:
        asked.append(names)
        raise WmEvalError("not enough memory")

    monkeypatch.setattr("wm_eval.models.open_models", opened)
    talk: Any = Told(word)
    launched.helped(talk, Names("a model"), "auto", None)  # what went wrong is the first one's word
    assert len(asked) == loads


def test_a_process_alone_talks_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert launched.talk() is None
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert launched.talk() is None


@pytest.mark.parametrize(
    ("asked", "local", "gpus", "found"),
    [
        (None, "3", 8, "cuda:3"),
        (None, "3", 2, "cuda:1"),
        ("cpu", "3", 8, "cpu"),
        (None, None, 8, None),
        (None, "3", 0, None),
    ],
)
def test_each_process_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, asked: str, local: str, gpus: int, found: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local is not None:
        monkeypatch.setenv("LOCAL_RANK", local)
    assert launched.device(asked) == found
