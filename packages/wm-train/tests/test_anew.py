"""A name is free for other fields until its run has made a step."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from wm_manifest import Checkpoint, Evaluation, RunManifest, load, save
from wm_train import anew, resume, run
from wm_train.config import TrainConfig
from wm_train.errors import ResumeError

Make = Callable[..., TrainConfig]
Begun = Callable[..., RunManifest]

OTHER = {"optim": {"learning_rate": 0.5}}
METRIC = {"early_stop": {"metric": "detect/accuracy"}}
LESS = {"optim": {"pack_tokens": 64}}

# fields that are other than before -> whether the run is gone on with
CHANGES: dict[str, tuple[dict[str, Any], bool]] = {
    "nothing": ({}, True),
    "less memory": (LESS, True),
    "no part of the run": ({"tracking": {"project": "another"}}, True),
    "the metric": (METRIC, True),
    "the metric and less memory": (METRIC | LESS, True),
    "the rate": (OTHER, False),
    "the metric and the rate": (METRIC | OTHER, False),
}


@pytest.fixture
def folder(tmp_path: Path, tiny: Make, make_manifest: Begun) -> Path:
    """What a run leaves that failed in its evaluation before the first step."""
    manifest = make_manifest(config=tiny().model_dump(mode="json"), status="failed")
    save(manifest, tmp_path / "manifest.json")
    for name in (".lock", "config.yaml", "eval/step-000000/samples.jsonl", "wandb/data/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "kept").touch()
    (tmp_path / "link").symlink_to(outside)
    log(tmp_path, "start")
    return tmp_path


def log(folder: Path, event: str) -> None:
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps({"event": event, "step": 1}) + "\n")


def decide(config: TrainConfig, folder: Path) -> tuple[RunManifest | None, str]:
    console = Console(width=200, file=StringIO(), record=True)
    before = load(RunManifest, folder / "manifest.json")
    decided = anew.unless_same(config, before, folder, console)
    return decided, console.export_text()


@pytest.mark.parametrize("case", CHANGES)
def test_a_run_without_a_step_goes_on_or_begins_anew(case: str, folder: Path, tiny: Make) -> None:
    fields, goes_on = CHANGES[case]
    there = sorted(path.name for path in folder.iterdir())
    config = tiny(**fields)
    before, said = decide(config, folder)
    left = sorted(path.name for path in folder.iterdir())
    assert left == (there if goes_on else [".lock"])
    assert (folder.parent / f"{folder.name}-outside/kept").exists()  # a link is not followed
    if not goes_on:
        assert before is None
        assert "plain had made no step; it begins anew, as optim.learning_rate is 0.5 now" in said
    else:
        assert before is not None
        resume.check(config, before)  # it is no other run
        assert ("early_stop.metric is 'detect/accuracy' from now on" in said) == (
            "early_stop" in fields
        )


# what tells of a step that was made
STEPPED: dict[str, Callable[[Path], Any]] = {
    "a line of the log": lambda folder: log(folder, "train"),
    "a checkpoint": lambda folder: (folder / "checkpoints/checkpoint-1").mkdir(parents=True),
    "a checkpoint that is gone": lambda folder: _record(
        folder, checkpoints=[Checkpoint(step=1, path="checkpoints/checkpoint-1")]
    ),
    "an evaluation on the way": lambda folder: _record(
        folder, evaluations=[Evaluation(step=5, path="eval/step-5", valid=True, figures={})]
    ),
}


def _record(folder: Path, **fields: Any) -> None:
    manifest = load(RunManifest, folder / "manifest.json").model_copy(update=fields)
    save(manifest, folder / "manifest.json")


@pytest.mark.parametrize("changed", [OTHER, METRIC])
@pytest.mark.parametrize("case", STEPPED)
def test_a_run_that_has_made_a_step_is_left_alone(
    case: str, changed: dict[str, Any], folder: Path, tiny: Make
) -> None:
    STEPPED[case](folder)
    there = sorted(folder.rglob("*"))
    before, said = decide(tiny(**changed), folder)
    assert before == load(RunManifest, folder / "manifest.json")
    assert said == ""
    assert sorted(folder.rglob("*")) == there
    with pytest.raises(ResumeError, match="take another --name"):
        resume.check(tiny(**changed), before)


@pytest.mark.parametrize("stepped", [False, True])
def test_a_run_without_a_step_goes_on_with_as_many_processes_as_there_are(
    folder: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch, stepped: bool
) -> None:
    monkeypatch.setattr(anew.processes, "number", lambda: 4)
    if stepped:
        log(folder, "train")
    before, said = decide(tiny(), folder)
    assert before is not None
    assert before.processes == (1 if stepped else 4)
    assert ("number of processes is 4 from now on, and was 1" in said) == (not stepped)


def test_a_first_start_that_failed_does_not_take_its_name(tiny: Make, tmp_path: Path) -> None:
    for place in ("nowhere", "elsewhere"):
        config = tiny(data={"path": str(tmp_path / place)})
        (tmp_path / "e1").mkdir(exist_ok=True)
        with pytest.raises(Exception, match=f"{place}: no such folder") as caught:
            run.train(config, tmp_path / "e1", "demo", ["wm-train"], Console(quiet=True))
        assert not isinstance(caught.value, ResumeError)
        manifest = load(RunManifest, tmp_path / "e1/manifest.json")
        assert manifest.config["data"]["path"] == str(tmp_path / place)
        assert len(manifest.attempts) == 1
