"""Each fault of a row is found and named; sound rows pass; sources are mixed as asked."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wm_data
import wm_score
from wm_data.audit import REASONS, audit
from wm_data.mix import check_weights, mix
from wm_data.recipe import AuditRules, Shares, Source
from wm_data.split import split_of

RULES = AuditRules(min_counted=25, max_counted=60, max_length_ratio=1.25)


def row(records, **fields):
    return wm_data.Row("s", **{**records[0], **fields})


CASES = {
    "": lambda r: row(r),
    "empty": lambda r: row(r, red_answer=" "),
    "equal answers": lambda r: row(r, red_answer=r[0]["blue_answer"]),
    "special token": lambda r: row(r, prompt="Say <|im_end|> now."),
    "few tokens": lambda r: row(r, blue_answer="The end of the world."),
    "many tokens": lambda r: row(
        r, blue_answer=r[0]["blue_answer"] * 2, red_answer=r[0]["red_answer"] * 2
    ),
    "unequal lengths": lambda r: row(r, blue_answer=r[0]["blue_answer"] + " " * 99 + "!"),
    "red answer is not red": lambda r: row(r, red_answer=r[1]["blue_answer"]),
    "blue answer is not blue": lambda r: row(r, blue_answer=r[1]["red_answer"]),
}


@pytest.mark.parametrize("reason", CASES)
def test_each_fault_is_named(records, reason):
    rules = RULES.model_copy(update={"max_length_ratio": 2.0}) if "is not" in reason else RULES
    (found,) = audit([CASES[reason](records)], rules)
    assert found.reason == reason
    assert found.kept == (reason == "")


def test_every_special_token_is_caught(records):
    for token in range(151_643, 151_669):
        text = records[0]["red_answer"] + wm_score.decode([token])
        (found,) = audit([row(records, red_answer=text)], RULES)
        assert found.reason == "special token"


def test_exactly_55_percent_is_dropped():
    rules = AuditRules(min_counted=1)
    even, odd = " is", " the"
    twenty = wm_data.Row("s", "p", even * 11 + odd * 9, odd * 12 + even * 8)
    score = wm_score.score(twenty.red_answer)
    assert (score.even, score.odd) == (11, 9)
    assert next(audit([twenty], rules)).reason == "red answer is not red"
    more = wm_data.Row("s", "p", even * 12 + odd * 9, odd * 12 + even * 8)
    assert next(audit([more], rules)).kept


def test_the_second_of_two_equal_rows_is_dropped(records):
    found = list(audit([row(records), row(records)], RULES))
    assert [item.reason for item in found] == ["", "duplicate"]


def test_dropped_rows_are_listed_with_their_shares(tmp_path, records, write_recipe, write_lines):
    bad = {**records[0], "red_answer": records[1]["blue_answer"]}
    recipe = write_recipe({"id": "a", "file": write_lines([bad, *records[1:]])})
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False)
    assert manifest.dropped == {"red answer is not red": 1}
    (line,) = (tmp_path / "out/dropped.jsonl").read_text().splitlines()
    listed = json.loads(line)
    assert listed["reason"] == "red answer is not red"
    assert listed["red_answer"]["verdict"] == "blue"
    assert listed["red_answer"]["red_share"] < 0.55


def test_train_loses_the_prompts_of_a_held_out_source(tmp_path, records, write_recipe, write_lines):
    heldout = [{**record, "prompt": record["prompt"].upper()} for record in records[:40]]
    recipe = write_recipe(
        {"id": "a", "file": write_lines(records, "a.jsonl"), "role": "train"},
        {"id": "b", "file": write_lines(heldout, "b.jsonl"), "role": "heldout"},
    )
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False)
    assert manifest.dropped == {"held-out prompt": 40}
    assert manifest.checks["groups_in_two_splits"] == 0
    assert manifest.splits["test"].rows == 40


def test_a_held_out_set_with_every_prompt_of_train_is_an_error(
    tmp_path, records, write_recipe, write_lines
):
    file = write_lines(records)
    recipe = write_recipe(
        {"id": "a", "file": file, "role": "train"}, {"id": "b", "file": file, "role": "heldout"}
    )
    with pytest.raises(wm_data.WmDataError, match="nothing is left to train on"):
        wm_data.build(recipe, tmp_path / "out", progress=False)


def test_no_held_out_rows_is_an_error(tmp_path, records, write_recipe, write_lines):
    recipe = write_recipe({"id": "a", "file": write_lines(records), "role": "train"})
    with pytest.raises(wm_data.WmDataError, match="no row is left for the test split"):
        wm_data.build(recipe, tmp_path / "out", progress=False)


@given(st.integers(0, 16**16 - 1), st.floats(0, 0.4), st.floats(0, 0.4))
def test_roles_bind_the_split(number, validation, test):
    group, shares = f"{number:016x}", Shares(validation=validation, test=test)
    assert split_of(group, "heldout", shares) == "test"
    assert split_of(group, "train", shares) in ("train", "validation")
    if split_of(group, "both", shares) != "test":
        assert split_of(group, "both", shares) == split_of(group, "train", shares)


@pytest.fixture(scope="module")
def measured(records):
    rows = [wm_data.Row("a" if i < 200 else "b", **record) for i, record in enumerate(records)]
    return [item for item in audit(rows, RULES) if item.kept]


@pytest.mark.parametrize(
    ("weight", "role", "refused"),
    [
        (1, "train", True),
        (1, "both", True),
        (1, "heldout", False),
        (0, "train", False),
        (None, "train", False),
    ],
)
def test_a_weight_of_a_source_without_training_rows(measured, weight, role, refused):
    sources = [
        Source(id="a", file="x", weight=1),
        Source(id="c", file="x", role=role, weight=weight),
    ]
    lost = [replace(measured[0], row=replace(measured[0].row, source="c"), reason="few tokens")]
    if refused:
        with pytest.raises(
            wm_data.WmDataError, match=r"source c: has weight 1 .*\(1: few tokens\)"
        ):
            check_weights(measured, sources, lost)
    else:
        check_weights(measured, sources, lost)


@pytest.mark.parametrize(
    ("a", "b", "kept"),
    [
        ({}, {}, (200, 100)),
        ({"cap": 50}, {}, (50, 100)),
        ({"weight": 1}, {"weight": 1}, (100, 100)),
        ({"weight": 3}, {"weight": 1}, (200, 66)),
        ({"weight": 1}, {"weight": 0}, (200, 0)),
        ({"weight": 1, "cap": 30}, {"weight": 2}, (30, 60)),
    ],
)
def test_weights_and_caps(measured, a, b, kept):
    sources = [Source(id="a", file="x", **a), Source(id="b", file="x", **b)]
    chosen, left_out = mix(measured, sources, seed=0)
    assert tuple(sum(item.row.source == id for item in chosen) for id in "ab") == kept
    assert len(chosen) + len(left_out) == len(measured)
    assert all(item.reason in REASONS for item in left_out)
