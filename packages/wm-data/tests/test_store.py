"""A folder is replaced whole or kept: whatever fails between the old one's going and the new."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import wm_data
from wm_data.store import staged


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "parent/out"
    folder.mkdir(parents=True)
    (folder / "file.txt").write_text("old")
    return folder


def state(out):
    return [path.name for path in out.parent.iterdir()], (out / "file.txt").read_text()


def replace(out, content="new"):
    with staged(out, overwrite=True) as folder:
        (folder / "file.txt").write_text(content)


def test_a_block_that_ends_well_replaces_the_folder(out):
    replace(out)
    assert state(out) == (["out"], "new")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(out, monkeypatch, error):
    rename = Path.rename

    def refuse(path, target):
        if target == out and ".old." not in path.name:
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises((wm_data.WmDataError, KeyboardInterrupt)) as caught:
        replace(out)
    if isinstance(error, OSError):
        assert "writing failed (No space left on device); it is as it was" in str(caught.value)
    assert state(out) == (["out"], "old")


def dead_pid():
    code = "import os; print(os.getpid())"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


def test_what_a_killed_process_had_moved_away_comes_back(out):
    out.rename(out.parent / f".out.{dead_pid()}.old.partial")
    with pytest.raises(wm_data.WmDataError, match="exists already"), staged(out):
        pytest.fail("must not begin")
    assert state(out) == (["out"], "old")


def test_what_a_killed_process_had_replaced_is_removed(out):
    (out.parent / f".out.{dead_pid()}.old.partial").mkdir()
    replace(out)
    assert state(out) == (["out"], "new")


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file or directory", "/sources/seeds.jsonl"),
        ConnectionError("the hub hung up"),
    ],
    ids=["a source", "the network"],
)
def test_an_error_of_the_block_is_not_called_a_failure_to_write(out, error):
    with pytest.raises(type(error)) as caught, staged(out, overwrite=True):
        raise error
    assert caught.value is error
    assert state(out) == (["out"], "old")


def test_a_file_of_the_folder_that_cannot_be_written_is_named_as_such(out):
    with (
        pytest.raises(wm_data.WmDataError, match="writing failed"),
        staged(out, overwrite=True) as folder,
    ):
        (folder / "missing/file.txt").write_text("x")
    assert state(out) == (["out"], "old")
