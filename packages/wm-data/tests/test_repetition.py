"""Rows whose answers repeat themselves leave training, and stay in the held-out splits."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wm_data
from wm_data.recipe import Shares
from wm_data.repetition import repetition
from wm_data.split import split_of

LOOP = 5  # times the same answer: about four fifths of its runs stood before


def looped(record, field):
    return {**record, field: " ".join([record[field]] * LOOP)}


def falls_into_validation(record):
    row = wm_data.Row("a", **record)
    return split_of(row.group, "train", Shares(validation=0.2, test=0.2)) == "validation"


@pytest.mark.parametrize("field", ["red_answer", "blue_answer"])
def test_a_loop_leaves_training_alone(records, write_recipe, write_lines, tmp_path, field):
    held = [record for record in records if falls_into_validation(record)][:10]
    others = [record for record in records if not falls_into_validation(record)]
    train, test = others[:60], others[60:100]
    loop = looped(train[7], field)
    lines = [loop, *train, *(looped(record, field) for record in held)]
    recipe = write_recipe(
        {"id": "a", "file": write_lines(lines, "a.jsonl"), "role": "train"},
        {
            "id": "b",
            "file": write_lines([looped(r, field) for r in test], "b.jsonl"),
            "role": "heldout",
        },
        audit={"max_length_ratio": 9},
        shares={"validation": 0.2, "test": 0.2},
        repetition={"threshold": 0.5},
    )
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False)
    assert manifest.dropped == {"repeats itself": 1}
    assert [split.rows for split in manifest.splits.values()] == [60, len(held), 40]
    assert len(held) == 10
    (line,) = (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "repeats itself"
    assert json.loads(line)["place"].startswith("row 1 of ")
    assert manifest.recipe["repetition"] == {"threshold": 0.5}


def test_it_is_not_looked_for_unless_asked(records, write_recipe, write_lines, tmp_path):
    rows = [looped(record, "red_answer") for record in records[:40]]
    recipe = write_recipe({"id": "a", "file": write_lines(rows)}, audit={"max_length_ratio": 9})
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False)
    assert not manifest.dropped
    assert "repetition" not in manifest.recipe


def test_where_all_of_training_loops_the_error_says_so(
    records, write_recipe, write_lines, tmp_path
):
    rows = [looped(record, "red_answer") for record in records[:40]]
    recipe = write_recipe(
        {"id": "a", "file": write_lines(rows)},
        audit={"max_length_ratio": 9},
        repetition={"threshold": 0.5},
    )
    with pytest.raises(wm_data.WmDataError, match=r"nothing is left to train on.*repeats itself"):
        wm_data.build(recipe, tmp_path / "out", progress=False)


CASES = [
    ("", 0),
    ("on", 0),
    ("on and off", 0),
    (" on" * 3, 0),
    (" on" * 4, 1 / 2),
    (" on" * 12, 0.9),
]


@pytest.mark.parametrize(("text", "share"), CASES)
def test_the_share_of_runs_that_stood_before(text, share):
    assert repetition(text) == pytest.approx(share)


@given(st.text(max_size=60))
def test_it_is_a_share_and_four_rounds_have_more_of_it(text):
    assert 0 <= repetition(text) < 1
    assert repetition(text * 4) >= repetition(text)
