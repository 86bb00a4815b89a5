"""Two processes train one run: killed at either, the same command ends it as if nothing had been."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from wm_manifest import RunManifest, load
from wm_train import journal
from wm_train.config import TrainConfig

STEPS = 4
BATCH_SIZE = 144  # two steps a pass: the last kill is in the middle of the second pass
SCRIPT = """
import os, signal

ASKED = -2  # in the place of a rank: SIGTERM for the one that evaluates, in the evaluation
HELPING = -3  # or for the other one, which helps it
from wm_eval.partial import Partial
from wm_train import checkpoints, cli

rank, step = map(int, os.environ["STRIKE"].split())
saved = checkpoints.VerifiedCheckpoints._save_checkpoint

def struck(self, model, trial):
    if (self.args.process_index, self.state.global_step) == (rank, step):
        os.kill(os.getpid(), signal.SIGKILL)  # the other one waits for it to save
    saved(self, model, trial)

checkpoints.VerifiedCheckpoints._save_checkpoint = struck
kept = Partial.add

def asked(self, answers):
    if rank == ASKED and self.path.parent.name == f"step-{step:06d}":
        os.kill(os.getpid(), signal.SIGTERM)  # the other one waits for the evaluation
    kept(self, answers)

Partial.add = asked
from wm_eval.together import _Share
part = _Share.part

def helping(self):
    global rank
    if rank == HELPING and os.environ["RANK"] == "1":
        rank = -1
        os.kill(os.getpid(), signal.SIGTERM)
    return part(self)

_Share.part = helping
cli.main()
"""
NOBODY, ASKED, HELPING = (-1, 0), -2, -3


@pytest.fixture(params=["adapter", "all weights in parts"])
def launch(
    tiny: Callable[..., TrainConfig], tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., int]:
    """Starts or goes on with a run of two processes, one of which is killed before it saves a step.

    Or asked to stop in the evaluation of a step.
    """
    models: dict[str, Any] = {
        "adapter": {"lora": {"r": 2, "alpha": 4, "dropout": 0.1}},
        "all weights in parts": {"sharded": True},
    }
    config = tiny(
        optim={"steps": STEPS, "batch_size": BATCH_SIZE},
        evaluation={"every": 2},
        checkpoint={"every": 1, "keep": 2},
        model=models[request.param],
        loss={"neutral": {"weight": 2.0}},
    )
    preset, script = tmp_path / "preset.yaml", tmp_path / "script.py"
    preset.write_text(yaml.safe_dump(config.model_dump(mode="json")), "utf-8")
    script.write_text(SCRIPT, "utf-8")

    def start(name: str, strike: tuple[int, int] = NOBODY) -> int:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        options = ["--preset", str(preset), "--name", name, "--runs-dir", str(tmp_path)]
        return subprocess.run(
            [sys.executable, *launcher, str(script), *options],
            env={**os.environ, "STRIKE": "{} {}".format(*strike), "PYTHONWARNINGS": "ignore"},
        ).returncode

    return start


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_processes_killed_and_resumed_end_alike(
    launch: Callable[..., int], tmp_path: Path
) -> None:
    assert launch("whole") == 0
    assert launch("run", (ASKED, 2)) != 0
    stopped = load(RunManifest, tmp_path / "run/manifest.json")
    assert stopped.attempts[-1].cause == "stopped by SIGTERM"
    assert ([e.step for e in stopped.evaluations], stopped.checkpoints[-1].step) == ([0], 2)
    assert launch("run", (1, 3)) != 0
    assert launch("run", (0, 4)) != 0
    assert launch("run") == 0
    whole, run = (load(RunManifest, tmp_path / name / "manifest.json") for name in ("whole", "run"))
    assert run.weights_sha256 == whole.weights_sha256
    assert [e.figures for e in run.evaluations] == [e.figures for e in whole.evaluations]
    assert (whole.status, whole.processes, len(whole.attempts)) == ("finished", 2, 1)
    assert [a.from_step for a in run.attempts] == [0, 2, 2, 3]
    for name in ("whole", "run"):
        log = tmp_path / name / "log.jsonl"
        assert [line["step"] for line in journal.read(log, "train")] == [1, 2, 3, 4]
        assert [line["step"] for line in journal.read(log, "eval")] == [0, 2, 4]
    saved = {p.name for p in (tmp_path / "run/checkpoints/checkpoint-4").glob("rng_state*")}
    assert saved == {"rng_state_0.pth", "rng_state_1.pth"}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("who", [ASKED, HELPING], ids=["asks", "helps"])
def test_a_signal_before_the_first_step_ends_both(
    launch: Callable[..., int], tmp_path: Path, who: int
) -> None:
    """In the middle of an evaluation by both: neither is left waiting for the other."""
    assert launch("run", (who, 0)) != 0
    stopped = load(RunManifest, tmp_path / "run/manifest.json")
    assert stopped.attempts[-1].cause == "stopped by SIGTERM"
    assert launch("run") == 0
    run = load(RunManifest, tmp_path / "run/manifest.json")
    assert (run.status, [e.step for e in run.evaluations]) == ("finished", [0, 2, 4])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rows_that_end_all_processes_are_told_of_once(
    tiny: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    preset = tmp_path / "preset.yaml"
    config = tiny(data={"max_tokens": 9}, optim={"batch_size": 12})
    preset.write_text(yaml.safe_dump(config.model_dump(mode="json")), "utf-8")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    options = ["--preset", str(preset), "--name", "run", "--runs-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "wm_train", *options],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1  # the launcher's
    assert (done.stdout + done.stderr).count("are longer than data.max_tokens = 9") == 1
