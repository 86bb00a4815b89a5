"""Data files of a path, a folder or a pattern: which are read, and under which names."""

import logging
import os
from pathlib import Path

import pytest

import wm_data
from wm_data import cli
from wm_data.files import READERS
from wm_data.found import READABLE, find_files


@pytest.fixture
def give(tmp_path):
    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


def found(location, role="both"):
    return [file.name for file in find_files(str(location), role)]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("in", ["a.jsonl", "b/a.jsonl"]),
        ("in/", ["a.jsonl", "b/a.jsonl"]),
        ("in/a.jsonl", ["a.jsonl"]),
        ("in/*.jsonl", ["a.jsonl"]),
        ("in/**/*.jsonl", ["a.jsonl", "b/a.jsonl"]),
        ("i?/b/a.jsonl", ["in/b/a.jsonl"]),
        ("in/*l*", ["a.jsonl"]),  # and not the folder c.parquet.l
    ],
)
def test_names_are_without_the_folder_that_was_typed(give, location, expected):
    folder = give("in/a.jsonl", "in/b/a.jsonl", "in/c.parquet/readme")
    (folder / "in/c.parquet.l").mkdir()
    assert found(folder / location) == expected


def test_every_suffix_has_a_reader():
    assert tuple(READERS) == READABLE


def test_brackets_of_a_folder_are_no_pattern(give):
    assert found(give("a[b]/rows.jsonl") / "a[b]/rows.jsonl") == ["rows.jsonl"]


@pytest.mark.parametrize("command", ["build --recipe RECIPE --out OUT", "audit SOURCE --out OUT"])
@pytest.mark.parametrize("odd", ["SOURCE", "OUT"])
def test_a_name_that_is_not_utf8_is_one_line(
    tmp_path, records, write_lines, write_recipe, capsys, command, odd
):
    """No manifest and no parquet file can be written with it: known before the rows are read."""
    names = {"SOURCE": "rows.jsonl", "OUT": "out"}
    names[odd] = os.fsdecode(b"\xff") + names[odd]
    source = write_lines(records[:40])
    try:
        source = str(Path(source).rename(tmp_path / names["SOURCE"]))
    except OSError:
        pytest.skip("this disk has no such names")
    recipe = write_recipe({"id": "a", "file": str(tmp_path / "*.jsonl")})
    places = {"SOURCE": source, "RECIPE": recipe, "OUT": str(tmp_path / names["OUT"])}
    assert cli.main([places.get(word, word) for word in command.split()]) == 2
    printed = capsys.readouterr().err
    assert "not UTF-8" in printed
    assert printed.count("\n") == 1


def test_a_pattern_of_folders_alone_is_one_line(give):
    folder = give("c.parquet/readme")
    with pytest.raises(wm_data.WmDataError, match="no data file there"):
        found(folder / "*.parquet")


MIXED = ("train.jsonl", "test.jsonl")


@pytest.mark.parametrize(
    ("names", "role", "refused"),
    [
        (MIXED, "train", True),
        (MIXED, "heldout", True),
        (MIXED, "both", False),
        (("data/train-0.parquet", "data/validation-0.parquet"), "train", True),
        (("train/a.jsonl", "held_out/a.jsonl"), "train", True),
        (("test.jsonl",), "train", False),
        (("train.jsonl", "more.jsonl"), "train", False),
        (("training.jsonl", "contest.jsonl"), "train", False),
    ],
)
def test_a_folder_of_several_splits_is_refused_unless_the_role_takes_both(
    give, names, role, refused
):
    folder = give(*names)
    if refused:
        with pytest.raises(wm_data.WmDataError, match=f"role {role}, .*several splits.*; name"):
            found(folder, role)
    else:
        assert found(folder, role) == sorted(names)


def test_data_files_of_a_folder_that_are_not_read_are_told(give, caplog):
    folder = give("a.jsonl", "b.json", "c.csv.gz", "README.md")
    with caplog.at_level(logging.WARNING):
        assert found(folder) == ["a.jsonl"]
    (line,) = caplog.messages
    assert line.startswith(f"{folder}: not read: b.json, c.csv.gz; can be read: .parquet")


def test_hidden_files_of_a_folder_are_told_and_not_read(give, caplog):
    """Editors keep older copies of rows there; a pattern does not see them either."""
    folder = give(".kept/a.jsonl", ".kept/.ipynb_checkpoints/b.jsonl", ".kept/._c.jsonl")
    with caplog.at_level(logging.WARNING):
        assert found(folder / ".kept") == found(folder / ".kept/**/*") == ["a.jsonl"]
    (line,) = caplog.messages
    assert "not read: ._c.jsonl, b.jsonl; can be read: " in line
