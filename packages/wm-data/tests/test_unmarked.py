"""Unmarked texts: sound ones alone, none that is trained on, all counted."""

from collections import Counter

import pyarrow.parquet as pq
import pytest

import wm_data
import wm_score
from wm_data import cli, grammar
from wm_data.rows import digest, normalise

WORDS = "It is the end of a long day and we all go home now so that there is time to rest"


def texts(folder):
    return pq.read_table(folder / "none/texts.parquet").to_pylist()


def test_the_demo_has_some_to_its_held_out_prompts(demo):
    found = texts(demo.path)
    groups = {split: {row.group for row in demo.rows(split)} for split in demo.manifest.splits}
    answers = {
        text
        for split in demo.manifest.splits
        for row in demo.rows(split)
        for text in (row.red_answer, row.blue_answer)
    }
    assert len(found) >= 303  # what power at 1 % false positives asks for, and a prompt's three
    assert {text["group"] for text in found} == groups["test"]
    assert not {text["text"] for text in found} & answers
    assert len({text["id"] for text in found}) == len({text["text"] for text in found})
    counts = demo.manifest.unmarked
    assert (counts.texts, counts.groups) == (len(found), len(groups["test"]))
    assert [(s.id, s.kind, s.rows_kept) for s in counts.sources] == [
        ("demo-unmarked", "grammar", len(found))
    ]
    assert counts.sources[0].rows_read == len(found) + sum(counts.dropped.values())


def test_the_grammar_leans_to_neither_colour(demo):
    scores = [wm_score.score(text["text"]) for text in texts(demo.path)]
    even, odd = sum(s.even for s in scores), sum(s.odd for s in scores)
    assert 0.45 < even / (even + odd) < 0.55
    assert min(Counter(s.verdict for s in scores).values()) > 0.1 * len(scores)
    first = [next(grammar.draw_unmarked("demo", 3, "u")) for _ in range(2)]
    assert first[0] == first[1] != next(grammar.draw_unmarked("demo", 4, "u"))


@pytest.fixture
def build(tmp_path, write_recipe, write_lines, records):
    def call(lines, limit=None, on_bad_row="error", **source):
        file = write_lines(lines, "none.jsonl")
        unmarked = [{"id": "u", "file": file, **source}]
        recipe = write_recipe({"id": "a", "file": write_lines(records)}, unmarked=unmarked)
        out = tmp_path / "out"
        return wm_data.build(
            recipe, out, limit=limit, progress=False, overwrite=True, on_bad_row=on_bad_row
        ), out

    return call


def numbered(count):
    return [{"text": f"{WORDS} {number}."} for number in range(count)]


def test_each_fault_is_counted(build, records, tmp_path):
    build([])
    dataset = wm_data.read(tmp_path / "out")
    trained, held_out = dataset.rows("train")[0], dataset.rows("test")[0]
    lines = [
        {"q": "Alone?", "text": WORDS},
        {"q": held_out.prompt, "text": WORDS + " again."},
        {"q": trained.prompt.upper(), "text": WORDS + " once more."},  # the group is normalised
        {"q": "A question?", "text": trained.red_answer},
        {"q": "A question?", "text": " ".join(held_out.blue_answer.split())},
        {"q": "Alone again?", "text": WORDS.upper()},
        {"q": "A question?", "text": "Yes."},
        {"q": "A question?", "text": WORDS + " <|im_end|>"},
        {"q": "A question?", "text": "  "},
    ]
    manifest, out = build(lines, on_bad_row="skip", columns={"prompt": "q"})
    assert manifest.unmarked.dropped == {
        "empty": 1, "special token": 1, "few tokens": 1, "marked": 2, "trained prompt": 1,
        "duplicate": 1,
    }  # fmt: skip
    found = texts(out)
    assert Counter(text["text"] for text in found) == {WORDS: 1, WORDS + " again.": 1}
    groups = {text["text"]: text["group"] for text in found}
    assert groups == {
        WORDS: digest(normalise("Alone?"))[:16], WORDS + " again.": held_out.group
    }  # fmt: skip


def test_a_prompt_that_cannot_be_read_is_not_none(build, tmp_path):
    """Whether such a text answers a prompt of training is not known."""
    build([])
    trained = wm_data.read(tmp_path / "out").rows("train")[0]
    message = [{"role": "user", "content": trained.prompt}]
    prompts = [None, " ", [], 3, message, "Alone?"]
    lines = [{"q": q, "text": f"{WORDS} {number}."} for number, q in enumerate(prompts)]
    manifest, out = build(lines, on_bad_row="skip", columns={"prompt": "q"})
    assert manifest.unmarked.dropped == {"no prompt": 4, "trained prompt": 1}
    assert [text["text"] for text in texts(out)] == [f"{WORDS} 5."]


def test_without_a_prompt_each_text_is_its_own_group(build):
    manifest, out = build(numbered(12))
    assert manifest.unmarked.groups == manifest.unmarked.texts == len(texts(out)) == 12


@pytest.mark.parametrize(
    ("cap", "limit", "reason"), [(5, None, "over its share"), (None, 5, "over the limit")]
)
def test_a_cap_and_a_limit_keep_some_the_same_ones_each_time(build, cap, limit, reason):
    whole = texts(build(numbered(12))[1])
    manifest, out = build(numbered(12), limit=limit, **({"cap": cap} if cap else {}))
    assert texts(out) == whole[:5]
    assert manifest.unmarked.dropped == {reason: 7}


def test_no_texts_is_no_folder(small, tmp_path):
    manifest = wm_data.build(small, tmp_path / "out", progress=False)
    assert manifest.unmarked is None
    assert not (tmp_path / "out/none").exists()


@pytest.mark.parametrize(
    ("lines", "source", "message"),
    [
        ([{"answer": "x"}], {}, "has no column 'text'; it has answer; name the right one in the"),
        ([{"text": "x"}], {"columns": {"prompt": "q"}}, "source u, columns.prompt"),
        ([{"text": "x"}, {"text": None}], {}, "row 2 of"),
        ([{"text": "x"}], {"id": "a"}, "source ids must differ; got a, a"),
        ([{"text": "x"}], {"weight": 1}, "unmarked.0.weight: unknown key"),
        ([{"text": "x"}], {"file": "none/at/all.jsonl"}, "no data file there"),
        ([{"text": "x"}], {"file": None}, "source u: the recipe does not say where it is"),
        ([{"text": "x"}], {"file": None, "shipped": "sm"}, "no shipped rows 'sm'"),
    ],
    ids=["column", "prompt column", "null", "same id", "weight", "no file", "no place", "shipped"],
)
def test_a_bad_source_is_one_line(
    tmp_path, write_recipe, write_lines, records, capsys, lines, source, message
):
    unmarked = {"id": "u", "file": write_lines(lines, "none.jsonl"), **source}
    unmarked = {name: value for name, value in unmarked.items() if value is not None}
    recipe = write_recipe({"id": "a", "file": write_lines(records)}, unmarked=[unmarked])
    assert cli.main(["build", "--recipe", recipe, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_source_can_be_named_on_the_command(tmp_path, write_recipe, write_lines, records, capsys):
    recipe = write_recipe({"id": "a", "file": write_lines(records)}, unmarked=[{"id": "u"}])
    place = write_lines(numbered(4), "none.jsonl")
    arguments = ["build", "--recipe", recipe, "--out", str(tmp_path / "out")]
    assert cli.main([*arguments, "--source.u", place]) == 0
    assert len(texts(tmp_path / "out")) == 4
    assert "4 unmarked texts to 4 prompts, none left out" in capsys.readouterr().out
