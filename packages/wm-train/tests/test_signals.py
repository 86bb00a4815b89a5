"""A run that is halted, or asked to stop, in the middle of a step or of an evaluation, loses nothing."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb
from rich.console import Console

from wm_eval.partial import NAME, Partial
from wm_manifest import RunManifest, load
from wm_train import checkpoints, journal, run
from wm_train.config import TrainConfig
from wm_train.errors import ResumeError
from wm_train.pace import Pace
from wm_train.signals import Stopped, announcement
from wm_train.trainer import WatermarkOrpoTrainer

pytestmark = pytest.mark.usefixtures("no_pictures")

STEPS = 4
HERE = 2  # the step in which, or after which, a signal comes
ENOUGH_S = 120.0
Strike = Callable[[Path], None]


@pytest.fixture(scope="module")
def config(tiny: Callable[..., TrainConfig]) -> TrainConfig:
    """No checkpoint by itself before the last step: what is saved before, a signal has saved."""
    return tiny(
        optim={"steps": STEPS},
        evaluation={"every": HERE},
        checkpoint={"every": 100},
        model={"lora": {"r": 2, "alpha": 4, "dropout": 0.1}},
        tracking={"mode": "disabled"},
    )


def go(config: TrainConfig, folder: Path, console: Console | None = None) -> RunManifest:
    folder.mkdir(parents=True, exist_ok=True)
    return run.train(config, folder, "demo", ["wm-train"], console or Console(quiet=True))


@pytest.fixture(scope="module")
def whole(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> RunManifest:
    return go(config, tmp_path_factory.mktemp("whole") / "run")


def started(config: TrainConfig, folder: Path, strike: Strike = lambda folder: None) -> int:
    """A child that trains and prints into a file, after `strike` has prepared it."""
    folder.mkdir(parents=True, exist_ok=True)
    wandb.teardown()
    child = os.fork()
    if child:
        return child
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and so would the run
        strike(folder)
        with (folder.parent / "printed.txt").open("w") as file:
            go(config, folder, Console(file=file, width=200))
        os._exit(0)
    except Stopped as stopped:
        os._exit(stopped.exit_code)
    finally:
        os._exit(1)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check(config: TrainConfig, folder: Path, whole: RunManifest) -> None:
    """The run is gone on with, and ends as one to which nothing happened."""
    manifest = go(config, folder)
    assert manifest.weights_sha256 == whole.weights_sha256
    lines = journal.read(folder / "log.jsonl", "train")
    assert [line["step"] for line in lines] == [*range(1, STEPS + 1)]
    seconds = sum(line["step_seconds"] for line in lines)
    assert manifest.train_seconds == pytest.approx(seconds, abs=0.06), "of all attempts"
    assert [(e.step, e.figures) for e in manifest.evaluations] == [
        (e.step, e.figures) for e in whole.evaluations
    ]
    log = folder / "log.jsonl"
    assert [line["step"] for line in journal.read(log, "train")] == list(range(1, STEPS + 1))
    assert [line["step"] for line in journal.read(log, "eval")] == [0, HERE, STEPS]
    assert not list(folder.glob(f"eval/*/{NAME}"))


def test_a_halted_run_keeps_its_folder_and_goes_on(
    config: TrainConfig, tmp_path: Path, whole: RunManifest
) -> None:
    folder = tmp_path / "run"
    child = started(config, folder)
    log, deadline = folder / "log.jsonl", time.monotonic() + ENOUGH_S
    while not (log.is_file() and '"train"' in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child, signal.SIGSTOP)
    _, status = os.waitpid(child, os.WUNTRACED)
    assert os.WIFSTOPPED(status), "it ended before it could be halted"
    kept = log.read_bytes()
    with pytest.raises(ResumeError, match=f"is being trained by process {child}; stop that one"):
        go(config, folder)
    assert log.read_bytes() == kept
    os.kill(child, signal.SIGCONT)
    assert ended(child) == 0
    manifest = load(RunManifest, folder / "manifest.json")
    assert (manifest.status, len(manifest.attempts)) == ("finished", 1)
    assert manifest.weights_sha256 == whole.weights_sha256
    assert [e.figures for e in manifest.evaluations] == [e.figures for e in whole.evaluations]


def in_a_step(*numbers: int) -> Strike:
    """The signals come while the loss of step HERE is computed."""

    def strike(folder: Path) -> None:
        real = WatermarkOrpoTrainer.training_step

        def step(self: Any, *args: Any, **kwargs: Any) -> Any:
            loss = real(self, *args, **kwargs)
            if self.state.global_step == HERE - 1:
                for number in numbers:
                    os.kill(os.getpid(), number)
            return loss

        WatermarkOrpoTrainer.training_step = step

    return strike


def in_an_evaluation(after: int, *numbers: int) -> Strike:
    """The signals come while answers of the evaluation after step `after` are kept."""

    def strike(folder: Path) -> None:
        real = Partial.add

        def add(self: Any, answers: Any) -> None:
            if self.path.parent.name == f"step-{after:06d}":
                for number in numbers:
                    os.kill(os.getpid(), number)
            real(self, answers)

        Partial.add = add

    return strike


@pytest.mark.parametrize(
    ("strike", "code", "waits_for"),
    [
        # The kernel sends it when a terminal goes, and so does the shell.
        (in_a_step(signal.SIGHUP, signal.SIGHUP), 75, "running step"),
        pytest.param(
            in_an_evaluation(HERE, signal.SIGTERM),
            75,
            "running batch of the evaluation",
            marks=pytest.mark.slow,  # in the last evaluation: below
        ),
        pytest.param(
            in_an_evaluation(HERE, signal.SIGINT),
            130,
            "running batch of the evaluation",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_first_signal_waits_for_a_checkpoint_says_so_and_loses_nothing(
    strike: Strike,
    code: int,
    waits_for: str,
    config: TrainConfig,
    tmp_path: Path,
    whole: RunManifest,
) -> None:
    folder = tmp_path / "run"
    assert ended(started(config, folder, strike)) == code
    chosen, passed = checkpoints.newest_whole(folder / "checkpoints")
    assert (chosen, passed) == (folder / f"checkpoints/checkpoint-{HERE}", {})
    printed = (tmp_path / "printed.txt").read_text()
    line = next(line for line in printed.splitlines() if "SIG" in line)
    assert waits_for in line
    assert re.search(r"about \d+\.\d s by the longest until now; send it again", line), line
    done = [e.step for e in load(RunManifest, folder / "manifest.json").evaluations]
    unfinished = folder / f"eval/step-{HERE:06d}/{NAME}"
    assert done == [0], "an evaluation is not waited for"
    assert unfinished.is_file() == ("evaluation" in waits_for), "what it has is kept"
    check(config, folder, whole)


def test_a_signal_in_the_last_evaluation_leaves_it_to_the_next_attempt(
    config: TrainConfig, tmp_path: Path, whole: RunManifest
) -> None:
    folder = tmp_path / "run"
    assert ended(started(config, folder, in_an_evaluation(STEPS, signal.SIGTERM))) == 75
    manifest = load(RunManifest, folder / "manifest.json")
    assert [e.step for e in manifest.evaluations] == [0, HERE]
    assert manifest.attempts[-1].cause == "stopped by SIGTERM"
    check(config, folder, whole)


@pytest.mark.parametrize(
    "strike",
    [
        in_a_step(signal.SIGTERM, signal.SIGTERM),
        pytest.param(
            in_an_evaluation(HERE, signal.SIGTERM, signal.SIGTERM), marks=pytest.mark.slow
        ),
        # Before the first step one is enough.
        pytest.param(in_an_evaluation(0, signal.SIGTERM), marks=pytest.mark.slow),
    ],
)
def test_at_once_saves_nothing_and_can_be_resumed(
    strike: Strike, config: TrainConfig, tmp_path: Path, whole: RunManifest
) -> None:
    folder = tmp_path / "run"
    assert ended(started(config, folder, strike)) == 75
    assert not checkpoints.found(folder / "checkpoints")
    check(config, folder, whole)


def test_a_wait_is_foretold_by_the_longest_until_now() -> None:
    clock = iter([0.0, 1.0, 3.0, 4.0, 9.0, 10.0])
    pace = Pace(lambda: next(clock))
    pace.begin("step")  # at 1
    assert "about" not in announcement(signal.SIGTERM, pace)
    pace.begin("checkpoint")  # at 3
    pace.begin(None)  # at 4
    pace.begin("step")  # at 9
    assert pace.wait_s() == 2.0 + 1.0
    assert announcement(signal.SIGINT, pace) == (
        "SIGINT: stops when the running step is over and its checkpoint is saved, about 3.0 s by "
        "the longest until now; send it again to stop at once"
    )
