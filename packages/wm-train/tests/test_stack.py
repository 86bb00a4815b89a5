"""A run that is gone on with elsewhere says so: machine, code and base of each attempt."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from wm_manifest import Attempt, GitState, Hardware, ModelRef, RunManifest, Stack, load, save
from wm_train import resume, stack
from wm_train.differences import changes, differences
from wm_train.errors import ResumeError
from wm_train.record import RunRecord

Make = Callable[..., RunManifest]
CPU = Hardware(platform="x", cpu="x", cores=2, memory_gib=8)
GPU = CPU.model_copy(update={"devices": ["H100"]})


def one(**fields: Any) -> Stack:
    known: dict[str, Any] = {
        "command": ["wm-train", "--resume", "plain"],
        "git": GitState(commit="a" * 40, dirty=False),
        "lock_sha256": None,
        "packages": {"torch": "2.9"},
        "python": "3.11",
        "hardware": CPU,
    }
    return Stack(**(known | fields))


def attempts(*stacks: Stack | None) -> list[Attempt]:
    return [
        Attempt(started_at="x", from_step=10 * number, stack=each)
        for number, each in enumerate(stacks)
    ]


# the attempts' stacks -> what is said of the run against itself
RUNS: dict[str, tuple[list[Stack | None], list[str]]] = {
    "older": ([None, None], []),
    "all alike": ([one(), one(), one()], []),
    "started otherwise": ([one(), one(command=["wm-train"])], []),
    "another torch": (
        [one(), one(packages={"torch": "2.8"}), one(packages={"torch": "2.8"})],
        ["version of torch, within the run: 2.9 before, 2.8 from step 10 on"],
    ),
    "there and back": (
        [one(), one(python="3.12"), one()],
        [
            "version of Python, within the run: 3.11 before, 3.12 from step 10 on",
            "version of Python, within the run: 3.12 before, 3.11 from step 20 on",
        ],
    ),
    "older, then not": (
        [None, one(hardware=GPU)],
        ["accelerators, within the run: none before, H100 from step 10 on"],
    ),
}


@pytest.mark.parametrize("case", RUNS)
def test_a_run_of_several_stacks_is_said_to_be_one(make_manifest: Make, case: str) -> None:
    stacks, said = RUNS[case]
    run = make_manifest(attempts=attempts(*stacks))
    assert [str(each) for each in differences(run, make_manifest())] == said


def test_what_is_new_since_the_last_attempt_is_printed(make_manifest: Make) -> None:
    console = Console(record=True, width=200, file=io.StringIO())
    run = make_manifest(attempts=attempts(one(), one(python="3.12")))
    stack.announce(run, one(python="3.12"), console)
    assert console.export_text() == ""
    stack.announce(run, one(python="3.13", hardware=GPU), console)
    assert console.export_text().splitlines() == [
        "since the last attempt: accelerators: none then, H100 now",
        "since the last attempt: version of Python: 3.12 then, 3.13 now",
    ]


def test_an_attempt_is_recorded_with_its_stack(make_manifest: Make, tmp_path: Path) -> None:
    command = [
        "wm-train",
        "--resume",
        "plain",
        "--runs-dir",
        "/home/me/mine",
        "--token",
        "abcdefghi",
    ]
    here = stack.here(tmp_path, command, make_manifest(attempts=attempts(None)))
    assert here.command == [*command[:-1], "<redacted>"]
    assert here.git.diff_path in (None, "code-2.patch")
    record = RunRecord(tmp_path, make_manifest(attempts=attempts(None)))
    record.resume(5, here)
    kept = load(RunManifest, tmp_path / "manifest.json")
    assert [a.stack for a in kept.attempts] == [None, here]
    assert kept.python == "3.11"  # the first attempt's


# devices of: the run's first attempt, its second, the one that begins -> are evaluations kept
DEVICES = [(CPU, CPU, CPU, True), (CPU, GPU, CPU, False), (CPU, CPU, GPU, False)]


@pytest.mark.parametrize(("first", "second", "third", "kept"), DEVICES)
def test_any_attempt_on_an_accelerator_leaves_no_evaluation_to_keep(
    make_manifest: Make, tmp_path: Path, first: Any, second: Any, third: Any, kept: bool
) -> None:
    """One of a step after the checkpoint, whose weights nothing gives back."""
    evaluation = {"step": 7, "path": "eval/step-000007", "valid": True, "figures": {}}
    tried = attempts(one(hardware=first), one(hardware=second))
    run = make_manifest(hardware=first, attempts=tried, evaluations=[evaluation])
    record = RunRecord(tmp_path, run)
    record.resume(5, one(hardware=third))
    assert bool(record.manifest.evaluations) is kept


# what the attempt that begins has beside the last one -> are evaluations kept
MOVED: dict[str, tuple[dict[str, Any], bool]] = {
    "nothing": ({}, True),
    "another command": ({"command": ["wm-train", "--name", "plain"]}, True),
    "another torch": ({"packages": {"torch": "2.10"}}, False),
    "another commit": ({"git": GitState(commit="b" * 40, dirty=False)}, False),
    "another processor": ({"hardware": CPU.model_copy(update={"cpu": "y"})}, False),
}


@pytest.mark.parametrize("case", MOVED)
def test_what_may_change_the_weights_leaves_no_evaluation_after_the_checkpoint(
    make_manifest: Make, tmp_path: Path, case: str
) -> None:
    """Its step is trained again, on something else: the figures would be of other weights."""
    here, kept = MOVED[case]
    evaluations = [
        {"step": step, "path": f"eval/step-{step:06d}", "valid": True, "figures": {}}
        for step in (0, 7)
    ]
    run = make_manifest(hardware=CPU, attempts=attempts(None, one()), evaluations=evaluations)
    record = RunRecord(tmp_path, run)
    record.resume(5, one(**here))
    assert [e.step for e in record.manifest.evaluations] == ([0, 7] if kept else [0])


LOST = "commit aaaaaaaaaaaa and changes that were not kept"


@pytest.mark.parametrize(
    ("then", "now", "differ"),
    [
        ({"dirty": False}, {"dirty": False}, False),
        ({"dirty": True}, {"dirty": False}, True),
        ({"dirty": True}, {"dirty": True}, True),
        ({"dirty": True, "diff_sha256": "b" * 64}, {"dirty": True, "diff_sha256": "b" * 64}, False),
        ({"dirty": True, "diff_sha256": "b" * 64}, {"dirty": True, "diff_sha256": "c" * 64}, True),
    ],
)
def test_changes_that_nobody_kept_may_be_any(
    make_manifest: Make, then: dict[str, Any], now: dict[str, Any], differ: bool
) -> None:
    a, b = (make_manifest(git={"commit": "a" * 40, **git}) for git in (then, now))
    found = changes(a, b)
    assert [each.what for each in found] == (["code"] if differ else [])
    assert not differ or "diff_sha256" in then or found[0].then == LOST


@pytest.mark.parametrize(
    ("then", "now", "differ"),
    [("a" * 64, "a" * 64, False), ("a" * 64, "b" * 64, True), (None, "b" * 64, False)],
    ids=["same", "altered", "not said"],
)
def test_other_weights_at_the_base_s_place_are_noticed(
    make_manifest: Make, then: str | None, now: str, differ: bool
) -> None:
    place = ModelRef(location="mine/base")
    a, b = (make_manifest(base=place, base_weights_sha256=each) for each in (then, now))
    assert [each.what for each in changes(a, b)] == (["base model's weights"] if differ else [])
    if not differ:
        resume.same_base(a, place, now)
        return
    with pytest.raises(ResumeError, match="SHA-256 of the weights in mine/base is not what"):
        resume.same_base(a, place, now)


def test_an_older_manifest_has_neither(make_manifest: Make, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    save(make_manifest(attempts=attempts(None)), path)
    text = path.read_text().replace(',\n      "stack": null', "")
    path.write_text(text.replace('  "base_weights_sha256": null,\n', ""))
    assert "stack" not in path.read_text()
    assert "base_weights" not in path.read_text()
    old = load(RunManifest, path)
    assert (old.attempts[0].stack, old.base_weights_sha256) == (None, None)
