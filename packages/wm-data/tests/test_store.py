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


def ours(folder):
    return (folder / "file.txt").is_file()


def replace(out, content="new"):
    with staged(out, ours) as folder:
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
    with pytest.raises(type(error)) as caught, staged(out, ours):
        raise error
    assert caught.value is error
    assert state(out) == (["out"], "old")


def test_a_file_of_the_folder_that_cannot_be_written_is_named_as_such(out):
    with (
        pytest.raises(wm_data.WmDataError, match="writing failed"),
        staged(out, ours) as folder,
    ):
        (folder / "missing/file.txt").write_text("x")
    assert state(out) == (["out"], "old")


BOTH = pytest.mark.parametrize("overwrite", [None, ours], ids=["new", "overwrite"])
NOT_OURS = r"out: (exists already|holds files that this command did not make)"


def refuse(place, overwrite, message):
    with pytest.raises(wm_data.WmDataError, match=message), staged(place, overwrite):
        pytest.fail("must not begin")


@BOTH
def test_a_folder_of_something_else_is_never_replaced(tmp_path, overwrite):
    out = tmp_path / "parent/out"
    out.mkdir(parents=True)
    (out / "thesis.txt").write_text("mine")
    refuse(out, overwrite, NOT_OURS)
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert (out / "thesis.txt").read_text() == "mine"


@BOTH
def test_a_folder_that_appears_meanwhile_is_not_replaced(tmp_path, overwrite):
    out = tmp_path / "parent/out"

    def write():
        with staged(out, overwrite) as folder:
            (folder / "file.txt").write_text("new")
            out.mkdir()
            (out / "thesis.txt").write_text("mine")

    with pytest.raises(wm_data.WmDataError, match=NOT_OURS):
        write()
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_an_empty_folder_that_is_there_is_used(tmp_path):
    out = tmp_path / "parent/out"
    out.mkdir(parents=True)
    with staged(out) as folder:
        (folder / "file.txt").write_text("new")
    assert state(out) == (["out"], "new")


def test_behind_a_link_what_it_points_to_is_replaced(out, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(out)
    for content in ("new", "newer"):
        replace(link, content)
        assert link.is_symlink()
        assert state(out) == (["out"], content)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "parent"]


def test_links_in_a_circle_are_one_line(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    refuse(tmp_path / "a", None, r"a: cannot be written")


@BOTH
def test_a_file_is_refused_at_the_start(out, overwrite):
    refuse(out / "file.txt", overwrite, r"file.txt: is a file; choose a folder")
    assert state(out) == (["out"], "old")


@pytest.mark.parametrize("place", [".", "..", "../out"])
def test_the_working_directory_is_refused_at_the_start(out, monkeypatch, place):
    monkeypatch.chdir(out)
    refuse(Path(place), ours, r"is the working directory, or holds it")
    assert state(out) == (["out"], "old")
