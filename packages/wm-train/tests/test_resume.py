"""Checkpoints, signals and locks: damage is seen and never used. Kills are in test_kills."""

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
import yaml
from rich.console import Console

import wm_eval.gather
from wm_manifest import EvalReport, RunManifest, load
from wm_train import checkpoints, cli, journal, out_of_memory, resume, run
from wm_train.config import TrainConfig
from wm_train.errors import CheckpointError, ResumeError
from wm_train.lock import only_one
from wm_train.out_of_memory import OutOfMemoryError
from wm_train.record import RunRecord
from wm_train.resume import fingerprint

pytestmark = pytest.mark.usefixtures("no_pictures")

Make = Callable[..., TrainConfig]
STEPS = 4


def go(config: TrainConfig, folder: Path, restart: bool = False) -> RunManifest:
    folder.mkdir(parents=True, exist_ok=True)
    return run.train(config, folder, "demo", ["wm-train"], Console(quiet=True), restart)


@pytest.fixture
def config(tiny: Make) -> TrainConfig:
    return tiny(
        optim={"steps": STEPS},
        evaluation={"every": 2},
        checkpoint={"every": 1, "keep": 2},
        model={"lora": {"r": 2, "alpha": 4, "dropout": 0.1}},
    )


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 75), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_signal_ends_the_step_saves_and_exits(
    config: TrainConfig, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    late = config.model_copy(
        update={
            "checkpoint": config.checkpoint.model_copy(update={"every": 100}),
            "optim": config.optim.model_copy(update={"steps": 5000}),
        }
    )
    folder = tmp_path / "run"
    preset = tmp_path / "late.yaml"
    preset.write_text(yaml.safe_dump(late.model_dump(mode="json")), "utf-8")
    child = os.fork()
    if child == 0:
        try:
            sys.argv = ["wm-train", "--preset", str(preset), "--name", "run"]
            sys.argv += ["--runs-dir", str(tmp_path)]
            sys.stderr = (tmp_path / "printed.txt").open("w")
            cli.main()
        except SystemExit as end:
            sys.stderr.flush()
            os._exit(cast(int, end.code))
        finally:
            os._exit(1)
    log, deadline = folder / "log.jsonl", time.monotonic() + 60
    while not (log.is_file() and '"train"' in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(child, number)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code
    chosen, passed = checkpoints.newest_whole(folder / "checkpoints")
    manifest = load(RunManifest, folder / "manifest.json")
    assert chosen is not None
    assert not passed
    assert manifest.status == "interrupted"
    assert manifest.attempts[-1].cause == f"stopped by {number.name}"
    assert journal.read(log, "train")[-1]["step"] == checkpoints.step_of(chosen)
    said = (tmp_path / "printed.txt").read_text().splitlines()[-1]
    assert said == f"stopped; go on with: uv run wm-train --resume run --runs-dir {tmp_path}"


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    for step in (1, 2):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "a.bin").write_bytes(bytes(range(100)))
        (folder / "b.json").write_text("{}")
        checkpoints.seal(folder, step)
    return tmp_path


def test_a_folder_that_is_named_nearly_so_is_none(
    pair: Path, make_manifest: Callable[..., RunManifest], tmp_path: Path
) -> None:
    """A copy that somebody keeps beside them ends no run."""
    run = tmp_path / "run"
    run.mkdir()
    for name in ("checkpoint-2", "checkpoint-2-backup"):
        shutil.copytree(pair / "checkpoint-2", run / "checkpoints" / name)
    record = RunRecord(run, make_manifest())
    record.checkpoints()
    assert [(c.step, c.path) for c in record.manifest.checkpoints] == [
        (2, "checkpoints/checkpoint-2")
    ]


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


DAMAGE: dict[str, Callable[[Path], None]] = {
    "deleted": Path.unlink,
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "flipped": _flip,
}


@pytest.mark.parametrize("name", ["a.bin", "b.json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_and_named(pair: Path, name: str, damage: str) -> None:
    DAMAGE[damage](pair / "checkpoint-2" / name)
    chosen, passed = checkpoints.newest_whole(pair)
    assert chosen == pair / "checkpoint-1"
    assert name in passed["checkpoint-2"]


@pytest.mark.parametrize("damage", ["deleted", "cut"])
def test_a_checkpoint_without_its_seal_is_not_used(pair: Path, damage: str) -> None:
    seal = pair / "checkpoint-2" / checkpoints.SEAL
    DAMAGE[damage](seal)
    if damage == "cut":
        os.truncate(seal, seal.stat().st_size - 1)  # the first byte cut was but a line end
    os.truncate(pair / "checkpoint-1" / checkpoints.SEAL, 5)
    chosen, passed = checkpoints.newest_whole(pair)
    assert chosen is None
    assert set(passed) == {"checkpoint-1", "checkpoint-2"}


def test_a_torn_log_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"event": "train", "step": step}) + "\n" for step in (1, 2, 3)]
    path.write_text("".join(lines) + '{"event": "tr')
    journal.rewind(path, 2)
    assert path.read_text() == "".join(lines[:2])


def test_a_folder_is_one_process_alone(tmp_path: Path) -> None:
    with (
        only_one(tmp_path),
        pytest.raises(ResumeError, match="is being trained by process"),
        only_one(tmp_path),
    ):
        pass
    with only_one(tmp_path):  # free again
        pass


def test_another_configuration_is_refused_and_damage_needs_a_word(
    tiny: Make, tmp_path: Path
) -> None:
    config = tiny(optim={"steps": 2}, tracking={"mode": "disabled"})
    folder = tmp_path / "run"
    go(config, folder)
    assert not list(folder.rglob("training_args.bin"))
    manifest = load(RunManifest, folder / "manifest.json")
    path = folder / "manifest.json"
    path.write_text(manifest.model_copy(update={"status": "running"}).model_dump_json())
    with pytest.raises(ResumeError, match=r"loss\.beta = 1\.0, not 2\.0"):
        go(config.model_copy(update={"loss": config.loss.model_copy(update={"beta": 2.0})}), folder)
    for checkpoint in checkpoints.found(folder / "checkpoints"):
        (checkpoint / "optimizer.pt").unlink()
    with pytest.raises(CheckpointError, match="--restart"):
        go(config, folder)


def test_weights_have_a_fingerprint() -> None:
    model = torch.nn.Linear(3, 2).bfloat16()
    model.bias.requires_grad_(False)
    before = fingerprint(model)
    model.bias.data += 1  # it is not trained
    assert fingerprint(model) == before
    model.weight.data[1, 2] *= 1.01
    assert fingerprint(model) != before


MEMORY = {
    "smaller packs": {"optim": {"pack_tokens": 64}},
    "recomputing": {"model": {"gradient_checkpointing": True}},
    "fewer answers at once": {"evaluation": {"batch_size": 8}},
}


@pytest.mark.parametrize("case", MEMORY)
def test_a_run_that_found_too_little_memory_may_go_on_with_less(
    case: str, tiny: Callable[..., TrainConfig], make_manifest: Callable[..., RunManifest]
) -> None:
    before = make_manifest(config=tiny().model_dump(mode="json"))
    (line,) = resume.check(tiny(**MEMORY[case]), before)
    assert re.fullmatch(
        r"(optim|model|evaluation)\.\w+ is (64|True|8) from now on, and was \w+", line
    )
    with pytest.raises(ResumeError, match=r"was started with optim\.learning_rate"):
        resume.check(tiny(optim={"learning_rate": 0.5}), before)


def test_memory_that_is_not_enough_is_one_line_that_says_what_to_lower(
    tiny: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    said = r"CUDA out of memory; .* --optim.pack_tokens 32 or --model"
    with (
        pytest.raises(OutOfMemoryError, match=said) as e,
        out_of_memory.told(tiny(optim={"pack_tokens": 64}), tmp_path / "mine"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
    assert "--name mine" in str(e.value)
    assert e.value.exit_code == 2


@pytest.mark.parametrize("kind", ["full", pytest.param("lora", marks=pytest.mark.slow)])
def test_a_resumed_run_finds_the_base_answers_of_its_own_step_0(
    kind: str, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt ends in the last evaluation, before there is a base arm."""
    lora = {"r": 2, "alpha": 4} if kind == "lora" else None
    config = tiny(model={"lora": lora}, tracking={"mode": "disabled"})
    folder, last = tmp_path / "run", tmp_path / "run/eval/step-000002"

    def cut_off(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(wm_eval.gather, "own_texts", cut_off)
        with pytest.raises(KeyboardInterrupt):
            go(config, folder)
    assert not (last / "eval.json").exists()
    assert go(config, folder).status == "finished"
    report = load(EvalReport, last / "eval.json")
    assert report.base_answers == "step 0"
    kept = {
        step: (folder / f"eval/{step}/samples.jsonl").read_text("utf-8").splitlines()
        for step in ("step-000000", "step-000002")
    }
    first, final = ([json.loads(line) for line in lines] for lines in kept.values())
    below = {s["id"]: s["answer"] for s in final if s["origin"] == "base"}
    begun = {s["id"]: s["answer"] for s in first if s["task"] == "watermark"}
    assert below == {f"base/{id}": answer for id, answer in begun.items()}
