"""A disk that is full when a run writes: one line, exit code 2, nothing lost. Checkpoints: test_retention.

In a name space of its own a tmpfs is the run's disk, and really filled before each place in turn.
"""

import errno
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import wm_eval.answers
import wm_publish
from wm_eval.partial import Partial
from wm_manifest import RunManifest, load
from wm_train import cli, engine, full_disk, journal, mapped, plots, run
from wm_train.config import TrainConfig
from wm_train.errors import CheckpointError, WmTrainError
from wm_train.journal import Journal
from wm_train.record import RunRecord

STEPS, EVERY = 4, 2


@dataclass(frozen=True)
class Place:
    """The disk fills up before a call of a function: the first of an attempt that `when` takes."""

    owner: Any
    function: str
    when: Callable[..., bool] = lambda *args: True


def second_step(log: Journal, event: str, step: int) -> bool:
    """And no room in the page that the log has: it would take some lines more."""
    if (event, step) != ("train", 2):
        return False
    handle: Any = log._file
    handle.write(" " * (-os.fstat(handle.fileno()).st_size % os.sysconf("SC_PAGE_SIZE")))
    handle.flush()
    return True


# In the order in which a run comes to them.
PLACES = {
    "pairs": Place(mapped, "_written"),
    "first answers": Place(Partial, "__init__", lambda self, path, *rest: "2" in path.name),
    "samples.jsonl": Place(wm_eval.answers, "write"),
    "manifest.json": Place(RunRecord, "evaluated"),
    "plots": Place(plots, "draw"),
    "log.jsonl": Place(Journal, "write", second_step),  # a step is logged after its evaluation
    "the result": Place(engine, "save"),
    "the end": Place(RunRecord, "end"),
    "the card": Place(wm_publish, "render_card"),
}
A_FEW = ("pairs", "log.jsonl")


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 2**12):
            with pytest.raises(OSError, match="No space left"):
                write_on(file, bytes(size))


def write_on(file: Any, block: bytes) -> None:
    while True:
        file.write(block)


def strike(place: Place, filler: Path) -> None:
    real = getattr(place.owner, place.function)

    def filled(*args: Any, **kwargs: Any) -> Any:
        if not filler.exists() and place.when(*args):
            fill(filler)
        return real(*args, **kwargs)

    setattr(place.owner, place.function, filled)


def inside(disk: Path, preset: Path, places: tuple[str, ...]) -> dict[str, Any]:
    """What runs where `disk` is one: a run, for which it is full at each place in turn."""
    filler, ends = disk / "filler", dict[str, Any]()
    sys.argv = ["wm-train", "--preset", str(preset), "--name", "run", "--runs-dir", str(disk)]
    for place in [*places, "nowhere"]:
        printed = preset.with_name(f"{place}.txt")
        child = os.fork()
        if child == 0:
            sys.stderr = printed.open("w", buffering=1, encoding="utf-8")
            if place in PLACES:
                strike(PLACES[place], filler)
            try:
                cli.main()
            except SystemExit as end:
                os._exit(end.code if isinstance(end.code, int) else 1)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        ends[place] = code, printed.read_text("utf-8", errors="replace"), filler.exists()
        filler.unlink(missing_ok=True)
    folder = disk / "run"
    return {
        "ends": ends,
        "steps": {
            e: [x["step"] for x in journal.read(folder / "log.jsonl", e)] for e in ("train", "eval")
        },
        "left": [p.name for p in folder.rglob("*") if p.name.endswith((".staged", ".tmp"))],
        "card": (folder / "README.md").read_text("utf-8"),
        "manifest": load(RunManifest, folder / "manifest.json"),
    }


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("places", [A_FEW, pytest.param(tuple(PLACES), marks=pytest.mark.slow)])
def test_a_run_on_a_full_disk_says_so_and_ends_alike_when_there_is_room(
    places: tuple[str, ...],
    tiny: Callable[..., TrainConfig],
    on_a_disk: Callable[..., Any],
    tmp_path: Path,
) -> None:
    config = tiny(
        optim={"steps": STEPS},
        evaluation={"every": EVERY},
        checkpoint={"every": 1, "keep": 2},
        model={"lora": {"r": 2, "alpha": 4, "dropout": 0.1}},
        tracking={"mode": "disabled"},
    )
    disk, preset = tmp_path / "disk", tmp_path / "preset.yaml"
    disk.mkdir()
    preset.write_text(yaml.safe_dump(config.model_dump(mode="json")), "utf-8")
    found = on_a_disk(disk, "64m", lambda: inside(disk, preset, places))
    for place in places:
        code, printed, was_full = found["ends"][place]
        assert was_full, f"it never came to: {place}"
        assert code == 2, f"{place}: {code} {printed}"
        assert "Traceback" not in printed, place
        last = printed.splitlines()[-1]
        assert last.startswith("error: the disk is full"), place
        assert "free some space" in last, place
        assert "resume" in last, place
    assert found["ends"]["nowhere"][0] == 0, found["ends"]["nowhere"]
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = run.train(config, whole, "demo", ["wm-train"], Console(quiet=True))
    manifest: RunManifest = found["manifest"]
    assert (manifest.status, manifest.weights_sha256) == ("finished", expected.weights_sha256)
    assert [e.figures for e in manifest.evaluations] == [e.figures for e in expected.evaluations]
    assert found["steps"] == {"train": [1, 2, 3, 4], "eval": [0, 2, 4]}
    assert found["left"] == []
    assert found["card"], "the card is written when there is room"


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "log.jsonl"), full_disk.DiskFullError),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), full_disk.DiskFullError),
        (RuntimeError("I/O error: No space left on device (os error 28)"), full_disk.DiskFullError),
        (PermissionError(errno.EACCES, "Permission denied"), PermissionError),
        (CheckpointError("the disk is full: the checkpoint of step 3 ..."), CheckpointError),
        (RuntimeError("shapes do not fit"), RuntimeError),
    ],
)
def test_a_full_disk_alone_is_told_as_one(
    tmp_path: Path, error: Exception, becomes: type[Exception]
) -> None:
    folder = tmp_path / "my-run"
    folder.mkdir()
    with pytest.raises(becomes) as raised, full_disk.told(folder):
        raise error
    if becomes is full_disk.DiskFullError:
        assert isinstance(raised.value, WmTrainError)
        assert f"--resume my-run --runs-dir {tmp_path}" in str(raised.value)
        assert len(str(raised.value).splitlines()) == 1
