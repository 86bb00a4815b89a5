"""`save` leaves the new file, or the old one as it was; and nothing beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from wm_manifest import Checkpoint, Estimate, GitState, ManifestError, Record, load, save

OLD = b"the old file"
GIT, POINT = GitState(commit=None, dirty=False), Checkpoint(step=1, path="x")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.json"
    path.write_bytes(OLD)
    return path


def test_new_file_stands_alone(place: Path, example: Callable[[str], Record]) -> None:
    save(example("run"), place)
    assert load(type(example("run")), place) == example("run")
    assert os.listdir(place.parent) == ["manifest.json"]  # noqa: PTH208  hidden files too


# What a record may hold and no JSON file can, or what a strict reader would refuse.
UNWRITABLE: dict[str, tuple[dict[str, Any], str]] = {
    "an object": ({"config": {"loss": object()}}, "Unable to serialize"),
    "bytes that are no text": ({"config": {"key": b"\xff"}}, "utf-8"),
    "half a surrogate": ({"config": {"note": "\ud800"}}, "surrogates"),
    "a circle": ({"config": (circle := {})}, "Circular"),
    "NaN": ({"config": {"lr": float("nan")}}, "config.lr: not written"),
    "NaN under a number": ({"config": {"a": {1: float("nan")}}}, "config.a.1: not written"),
    "infinity in a list": ({"config": {"lr": [1, float("inf")]}}, "config.lr.1: not written"),
    "a set": ({"config": {"steps": {1, 2}}}, "config.steps: not written: JSON has no set"),
    "a date": ({"config": {"on": date(2020, 1, 1)}}, "config.on: not written: JSON has no date"),
    "bytes": ({"config": {"key": b"x"}}, "config.key: not written: JSON has no bytes"),
    "a path": ({"config": {"out": Path("x")}}, "config.out: not written: JSON has no "),
    "one key twice": ({"config": {"a": {1: "x", "1": "y"}}}, "config.a: not written: two keys"),
    "text for a number": ({"seed": "seven"}, "seed: not written"),
    "a status of no kind": ({"status": "done"}, "status: not written"),
    "null for a record": ({"hardware": None}, "hardware: not written"),
    "a misspelt field": ({"statsu": "finished"}, "statsu: not written: a RunManifest has no such"),
    "one of a part": (
        {"git": GIT.model_copy(update={"dirtu": True})},
        "git.dirtu: not written: a GitState has no",
    ),
    "one in a list": (
        {"checkpoints": [POINT.model_copy(update={"stepp": 1})]},
        "checkpoints.0.stepp: not written",
    ),
    "one in a dict": (
        {"config": {"a": GIT.model_copy(update={"b": 1})}},
        "config.a.b: not written: a GitState",
    ),
}
circle["again"] = circle


@pytest.mark.parametrize("name", UNWRITABLE)
def test_record_that_cannot_be_written_leaves_the_old_file(
    name: str, place: Path, example: Callable[[str], Record]
) -> None:
    changes, fault = UNWRITABLE[name]
    record = example("run").model_copy(update=changes)
    with pytest.raises(ManifestError) as caught:
        save(record, place)
    message = str(caught.value)
    assert message.startswith(f"{place}: ")
    assert fault in message
    assert len(message.splitlines()) == 1
    assert place.read_bytes() == OLD
    assert os.listdir(place.parent) == ["manifest.json"]  # noqa: PTH208


def test_folder_in_the_way_stays_and_no_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    (path / "inner").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        save(Estimate(value=0.5, n=3), path)
    assert (path / "inner").is_dir()
    assert os.listdir(tmp_path) == ["manifest.json"]  # noqa: PTH208


def test_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save(Estimate(value=0.5, n=3), tmp_path / "no" / "manifest.json")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


FULL_DISK = """
import resource, sys
from pathlib import Path
from wm_manifest import Piece, save
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    save(Piece(text="x" * 100_000, colour="red"), Path(sys.argv[1]))
except OSError as error:
    print(type(error).__name__, error.errno)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of a file's size")
def test_disk_that_fills_up_midway_leaves_the_old_file(place: Path) -> None:
    """A limit of 20,000 bytes a file: the write fails after the first ones are on the disk."""
    import errno

    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(place)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["OSError", str(errno.EFBIG)]
    assert place.read_bytes() == OLD
    assert os.listdir(place.parent) == ["manifest.json"]  # noqa: PTH208
