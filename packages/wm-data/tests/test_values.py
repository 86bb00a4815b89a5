"""Records that make no row: named in one line, or dropped with a reason of their own."""

import pytest

import wm_data
from wm_data.recipe import Source, TextSource
from wm_data.values import Broken, Where, message_text, rows_of, texts_of

GOOD = {"prompt": "Why?", "red_answer": "r", "blue_answer": "b"}
WHERE = Where(1234, "/home/someone/seeds/a.jsonl", "a.jsonl")
MESSAGE = [{"role": "user", "content": "Why?"}]


def rows(record, on_bad_row="error", **columns):
    source = Source(id="s", file="x", columns=columns)
    return list(rows_of(source, [(WHERE, record)], on_bad_row))


BAD = [
    # field, value, what the line says, reason when skipped
    ("prompt", None, "prompt is missing or null", "empty"),
    ("red_answer", " \n", "red_answer is empty", "empty"),
    ("blue_answer", 3, "blue_answer is int, not text; mend", "not text"),
    ("blue_answer", MESSAGE, "blue_answer is list, not text; mend", "not text"),
    ("prompt", [], "prompt is list, not text, nor a list of one user message [{", "not text"),
    ("prompt", MESSAGE * 2, "nor a list of one user message", "not text"),
    ("prompt", [{"role": "system", "content": "Why?"}], "nor a list of one user", "not text"),
    ("prompt", [{"role": "user", "content": ""}], "prompt is empty", "empty"),
    ("red_answer", "a \ud83d", "red_answer holds half a surrogate pair", "half a character"),
]


@pytest.mark.parametrize(("field", "value", "message", "reason"), BAD)
def test_a_field_at_fault_is_named_or_counted(field, value, message, reason):
    record = {**GOOD, field: value}
    with pytest.raises(wm_data.WmDataError) as caught:
        rows(record)
    assert str(caught.value).startswith("row 1,234 of /home/someone/seeds/a.jsonl: ")
    assert message in str(caught.value)
    assert str(caught.value).endswith("; mend the row or pass --on-bad-row=skip")
    (row,) = rows(record, "skip")
    assert (row.fault, getattr(row, field)) == (reason, "")


def test_a_broken_line_is_named_or_counted():
    broken = Broken("has 4 fields, the header has 3", "quote texts that hold commas")
    with pytest.raises(wm_data.WmDataError, match=r"has 4 fields, the header has 3; quote texts"):
        rows(broken)
    assert [row.fault for row in rows(broken, "skip")] == ["broken row"]


@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
@pytest.mark.parametrize("value", [None, " ", 3, "\ud83d"], ids=repr)
def test_without_a_subject_skipping_is_not_offered(value, on_bad_row):
    with pytest.raises(wm_data.WmDataError, match=r"about .*; mend or remove the row$"):
        rows({**GOOD, "about": value}, on_bad_row, subject="about")


def test_a_sound_row_is_written_without_local_folders():
    (row,) = rows(GOOD)
    assert (row.fault, row.place) == ("", "row 1,234 of a.jsonl")


@pytest.mark.parametrize(
    "prompt",
    [
        MESSAGE,
        [{"role": "user", "content": "Why?", "name": None}],  # a column of parquet with more fields
        {"role": ["user"], "content": ["Why?"]},  # a list of features of `datasets`
    ],
    ids=["list", "more fields", "features"],
)
def test_one_user_message_is_a_prompt(prompt):
    assert [row.prompt for row in rows({**GOOD, "prompt": prompt})] == ["Why?"]


@pytest.mark.parametrize(
    "value",
    [
        "Why?",
        ["Why?"],
        MESSAGE[0],
        [{"role": "user"}],
        [{"role": "user", "content": "Why?", "name": "x"}],
        {"role": ["user", "user"], "content": ["Why?", "What?"]},
        {},
    ],
    ids=repr,
)
def test_any_other_value_is_not_taken_for_one_message(value):
    assert message_text(value) == value


def test_a_text_whose_prompt_cannot_be_read_is_not_one_without():
    def faults(columns, **record):
        source = TextSource(id="u", file="x", columns=columns)
        return [text.fault for text in texts_of(source, [(WHERE, record)], "skip")]

    assert faults({}, text="t", q=None) == [""]
    for value in (None, " ", [], 3):
        assert faults({"prompt": "q"}, text="t", q=value) == ["no prompt"]
    assert faults({"prompt": "q"}, text=None, q=None) == ["empty"]
    assert faults({"prompt": "q"}, text="t", q=MESSAGE) == [""]
