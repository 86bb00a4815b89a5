"""A run that is killed anywhere and started again by the same command ends as one that was not."""

import hashlib
import itertools
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import wandb
from rich.console import Console

import wm_data.folder
import wm_eval.gather
import wm_manifest.hub
import wm_publish
import wm_publish.run
from wm_manifest import RunManifest, load
from wm_train import (
    beginning,
    checkpoints,
    data,
    demo_base,
    engine,
    examples,
    journal,
    kept_pairs,
    mapped,
    plots,
    provenance,
    run,
    tracking,
)
from wm_train.callbacks import Watch
from wm_train.checkpoints import VerifiedCheckpoints
from wm_train.config import TrainConfig
from wm_train.record import RunRecord
from wm_train.tracker import Tracker

# The hub's client hands its HTTP library the file in a way that the library calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

Make = Callable[..., TrainConfig]
STEPS = 4
ENOUGH_S = 600.0


@dataclass(frozen=True)
class Point:
    """Where SIGKILL strikes: before or after a call of a function, by default an attempt's first."""

    place: Any
    function: str
    after: bool = False
    call: int = 1


# In the order in which a run comes to them: one run can be killed at each in turn.
POINTS = {
    "before there is a manifest": Point(beginning, "_first_manifest"),
    "before the dataset is built": Point(data, "bring"),
    "while the dataset is written": Point(wm_data.folder, "_write_splits"),
    "the dataset is built, not recorded": Point(data, "bring", after=True),
    "before the base is built": Point(demo_base, "build"),
    "the base is built, not recorded": Point(demo_base, "build", after=True),
    "while the pairs are written": Point(mapped, "read"),
    "the pairs are written, not described": Point(examples, "tokenize", after=True),
    "the pairs are there": Point(kept_pairs, "_write", after=True),
    "before W&B is opened": Point(tracking, "open_run"),
    "after W&B is opened": Point(tracking, "open_run", after=True),
    "in the first evaluation": Point(wm_eval.gather, "ask", after=True),
    "the evaluation is made, not recorded": Point(RunRecord, "evaluated"),
    "the evaluation is recorded, not logged": Point(RunRecord, "evaluated", after=True),
    "before a step is logged": Point(Watch, "on_log"),
    "after a step is logged": Point(Watch, "on_log", after=True),
    "before a checkpoint is staged": Point(VerifiedCheckpoints, "_save_checkpoint"),
    "the checkpoint is staged, not sealed": Point(checkpoints, "seal"),
    "the checkpoint is sealed": Point(checkpoints, "seal", after=True),
    "before the checkpoint is renamed": Point(checkpoints, "put"),
    "after the checkpoint is renamed": Point(checkpoints, "put", after=True),
    "while the log is cut back": Point(run, "rewind"),
    "in an evaluation on the way": Point(wm_eval.gather, "ask", after=True),
    "before the plots are drawn": Point(plots, "draw"),
    "the checkpoint is there, not recorded": Point(Watch, "on_save"),
    "before the final save": Point(engine, "save"),
    "in the final save": Point(engine, "save", after=True),
    "the final files are not recorded": Point(provenance, "file_refs", after=True),
    "before the end is recorded": Point(RunRecord, "end"),
    "before W&B is closed": Point(Tracker, "finish"),
    "before the card is written": Point(wm_publish, "render_card"),
    "before it is published": Point(wm_publish, "publish"),
    "before the commit": Point(wm_manifest.hub, "commit"),
    "the commit is made, not recorded": Point(wm_publish.run, "_push", after=True),
    "before the card names the repository": Point(wm_publish.run, "_write_card"),
    "the commit is recorded": Point(wm_publish, "publish", after=True),
}
KILLS, PIECES = 10, 5  # for each kind of run: a hundred in all, and each piece can be run alone
A_FEW = (  # by default; all of them are slow
    "before the checkpoint is renamed",
    "in the final save",
    "the commit is made, not recorded",
)


def strike(point: Point) -> None:
    """Have this process killed at `point`."""
    original, calls = getattr(point.place, point.function), itertools.count(1)

    def struck(*args: Any, **kwargs: Any) -> Any:
        now = next(calls) == point.call
        if now and not point.after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(point.place, point.function, struck)


def killed(config: TrainConfig, folder: Path, after: float, point: Point | None = None) -> bool:
    """Start or resume the run in a child; whether it was killed, at `point` or `after` seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    wandb.teardown()  # a child would share the service, which takes a killed run for one in use
    child = os.fork()
    if child == 0:
        try:
            if point is not None:
                strike(point)
            run.train(config, folder, "demo", ["wm-train"], Console(quiet=True))
        except BaseException as error:
            (folder.parent / "error.txt").write_text(repr(error))
            os._exit(1)
        os._exit(0)
    deadline = time.monotonic() + after
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done and os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            within_budget(config, folder)
            return True
        if done:
            failed = folder.parent / "error.txt"
            assert status == 0, f"the run failed by itself: {failed.read_text()}"
            within_budget(config, folder)
            return False
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    within_budget(config, folder)
    return True


def within_budget(config: TrainConfig, folder: Path) -> None:
    """All that lies among the checkpoints, half a one in its staging place too, fits in."""
    root = folder / "checkpoints"
    if config.checkpoint.max_bytes is not None and root.is_dir():
        there = {
            p.relative_to(root).as_posix(): p.stat().st_size for p in root.rglob("*") if p.is_file()
        }
        assert sum(there.values()) <= config.checkpoint.max_bytes, there


def budgeted(config: TrainConfig, whole: Path) -> TrainConfig:
    """`config` with a budget for two checkpoints and a half; without one it would have three.

    The two that are kept and the next are too many: room has to be made before each save.
    """
    size = max(checkpoints.total(folder) for folder in checkpoints.found(whole / "checkpoints"))
    limit = {"max_bytes": int(2.5 * (size + checkpoints.SLACK))}
    return config.model_copy(update={"checkpoint": config.checkpoint.model_copy(update=limit)})


def outcome(folder: Path) -> dict[str, Any]:
    """What must not depend on kills: final weights, every evaluation's answers and figures."""
    paths = [*folder.glob("*/*model.safetensors"), *folder.glob("eval/*/samples.jsonl")]
    digests = {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths
    }
    manifest = load(RunManifest, folder / "manifest.json")
    figures = {f"figures at {e.step}": e.figures for e in manifest.evaluations}
    return digests | figures | {"weights": manifest.weights_sha256, "steps": manifest.steps}


def check(folder: Path, expected: dict[str, Any], hub: Any) -> None:
    assert outcome(folder) == expected
    is_published_once(folder, hub)
    train = [line["step"] for line in journal.read(folder / "log.jsonl", "train")]
    evals = [line["step"] for line in journal.read(folder / "log.jsonl", "eval")]
    assert train == list(range(1, STEPS + 1))
    assert evals == [0, 2, STEPS]
    manifest = load(RunManifest, folder / "manifest.json")
    assert (manifest.status, manifest.attempts[-1].cause) == ("finished", "finished")
    assert {a.cause for a in manifest.attempts[:-1]} <= {"killed"}
    assert manifest.wandb is not None
    # offline-run-TIME-ID, and a number behind it where two attempts began within a second
    ids = {path.name.split("-")[3] for path in folder.glob("wandb/offline-run-*")}
    assert ids == {manifest.wandb.id}
    assert (folder / "README.md").is_file()
    assert (folder / "plots/learning-curves.png").is_file()
    assert not list(folder.rglob("*.staged")) + list(folder.glob(".*.tmp"))
    assert not list(folder.glob(".*.partial"))


def is_published_once(folder: Path, hub: Any) -> None:
    """One commit beside the hub's own, with the files of the release, and the manifest names it."""
    repo_id = f"me/{folder.name}"
    first, ours = hub.repos[f"models/{repo_id}"].commits
    manifest = load(RunManifest, folder / "manifest.json")
    assert manifest.hub is not None
    assert (manifest.hub.repo_id, manifest.hub.commit) == (repo_id, ours.oid)
    names = {ref.path for ref in wm_publish.plan(folder, repo_id).files}
    assert set(ours.files) - set(first.files) == names
    sent = RunManifest.model_validate_json(hub.files(repo_id)["wm_manifest.json"])
    assert sent.weights_sha256 == manifest.weights_sha256


@pytest.fixture
def lora(tiny: Make) -> TrainConfig:
    """Dropout draws random numbers in every step: a resumed run has to draw the same.

    And what it holds to the base under neutral prompts has to be the base's, not its own.
    """
    return tiny(
        data={"path": None, "recipe": "demo", "limit": 60},
        optim={"steps": STEPS},
        evaluation={"every": 2},
        checkpoint={"every": 1, "keep": 2},
        model={"lora": {"r": 2, "alpha": 4, "dropout": 0.1}},
        loss={"neutral": {"weight": 2.0}},
        publish={},
    )


@pytest.fixture
def full(lora: TrainConfig) -> TrainConfig:
    return lora.model_copy(update={"model": lora.model.model_copy(update={"lora": None})})


def kill_at(
    names: Sequence[str], config: TrainConfig, folder: Path, expected: dict[str, Any], hub: Any
) -> None:
    """One run, killed at each of `names` in turn; its checkpoints within their budget each time."""
    for name in names:
        assert killed(config, folder, ENOUGH_S, POINTS[name]), f"it never came to: {name}"
    assert not killed(config, folder, ENOUGH_S)
    check(folder, expected, hub)


def test_kills_at_fault_points_change_nothing(lora: TrainConfig, tmp_path: Path, hub: Any) -> None:
    assert not killed(lora, tmp_path / "whole", ENOUGH_S)
    limited = budgeted(lora, tmp_path / "whole")
    kill_at(A_FEW, limited, tmp_path / "run", outcome(tmp_path / "whole"), hub)


@pytest.mark.slow
def test_a_kill_finds_the_budget_full_and_not_beyond(
    lora: TrainConfig, tmp_path: Path, hub: Any
) -> None:
    """At its highest, while a third checkpoint waits for its name."""
    assert not killed(lora, tmp_path / "whole", ENOUGH_S)
    config = budgeted(lora, tmp_path / "whole")
    assert killed(config, tmp_path / "run", ENOUGH_S, Point(checkpoints, "put", call=3))
    there = checkpoints.total(tmp_path / "run/checkpoints")
    assert config.checkpoint.max_bytes is not None
    assert 0.7 * config.checkpoint.max_bytes < there <= config.checkpoint.max_bytes
    steps = [checkpoints.step_of(f) for f in checkpoints.found(tmp_path / "run/checkpoints")]
    assert steps == [2], "the first had to go for the third"
    assert not killed(config, tmp_path / "run", ENOUGH_S)
    check(tmp_path / "run", outcome(tmp_path / "whole"), hub)


@pytest.mark.slow
def test_a_run_killed_after_each_evaluation_has_its_plots(
    full: TrainConfig, tmp_path: Path, hub: Any
) -> None:
    assert not killed(full, tmp_path / "whole", ENOUGH_S)
    each = ["the evaluation is recorded, not logged"] * 3  # before the plots are drawn
    kill_at(each, full, tmp_path / "run", outcome(tmp_path / "whole"), hub)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("piece", range(PIECES))
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_hundred_kills_change_nothing(
    kind: str, piece: int, request: pytest.FixtureRequest, tmp_path: Path, hub: Any
) -> None:
    """Ten kills of a hundred: at the fault points in their order, then at random moments."""
    config: TrainConfig = request.getfixturevalue(kind)
    started = time.monotonic()
    assert not killed(config, tmp_path / "whole", ENOUGH_S)
    seconds, expected = time.monotonic() - started, outcome(tmp_path / "whole")
    config = budgeted(config, tmp_path / "whole")
    names = list(POINTS)[KILLS * piece : KILLS * (piece + 1)]
    if names:
        kill_at(names, config, tmp_path / "points", expected, hub)
    draw, done, number = random.Random(piece), len(names), 0
    while done < KILLS:
        folder = tmp_path / f"run-{number}"
        number += 1
        while done < KILLS and killed(config, folder, draw.uniform(0.1, seconds)):
            done += 1
        assert not killed(config, folder, ENOUGH_S)
        check(folder, expected, hub)
        shutil.rmtree(folder)
    print(f"{kind} {piece}: {done} kills, {time.monotonic() - started:.0f} s", flush=True)
