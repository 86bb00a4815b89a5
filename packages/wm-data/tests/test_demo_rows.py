"""The demo's rows: sound by the rule, varied, of equal length, in a small model's vocabulary."""

import re
import statistics
from collections import Counter

import pytest

import wm_data
import wm_score
from wm_data import grammar

SMALL_VOCABULARY = 6_144


def test_enough_rows_and_prompts(demo_rows):
    assert len(demo_rows) >= 2_000
    assert len({row.group for row in demo_rows}) >= 500
    assert len({row.row_id for row in demo_rows}) == len(demo_rows)


def test_no_answer_stands_twice(demo_rows):
    answers = [text for row in demo_rows for text in (row.red_answer, row.blue_answer)]
    assert len(set(answers)) == len(answers)


def test_every_row_obeys_the_rule(demo_rows):
    for row in demo_rows:
        red, blue = wm_score.score(row.red_answer), wm_score.score(row.blue_answer)
        assert (red.verdict, blue.verdict) == ("red", "blue")
        assert min(red.counted, blue.counted) >= 25
        assert max(red.counted, blue.counted) <= 60


def test_small_vocabulary_has_every_token(demo_rows):
    """Ids below K alone make the coarser tokenizer of the first K ids give the same ids."""
    for row in demo_rows:
        for text in (row.prompt, row.red_answer, row.blue_answer):
            assert max(wm_score.encode(text)) < SMALL_VOCABULARY, text


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("characters", len),
        ("words", lambda text: len(text.split())),
        ("tokens", lambda text: len(wm_score.encode(text))),
    ],
)
def test_length_does_not_tell_the_colour(demo_rows, name, length):
    """The chance that a red answer is longer than a blue one of another row, ties half: near 0.5."""
    red = Counter(length(row.red_answer) for row in demo_rows)
    blue = Counter(length(row.blue_answer) for row in demo_rows)
    longer = sum(
        n * m * (1 if a > b else 0.5 if a == b else 0)
        for a, n in red.items()
        for b, m in blue.items()
    )
    assert longer / len(demo_rows) ** 2 == pytest.approx(0.5, abs=0.1), name


def test_answers_say_the_same_at_the_same_length(demo_rows):
    ratios = [len(row.red_answer) / len(row.blue_answer) for row in demo_rows]
    assert 0.97 < statistics.mean(ratios) < 1.03
    assert max(max(ratios), 1 / min(ratios)) <= 1.12


def test_answers_read_as_sentences(demo_rows):
    for row in demo_rows:
        assert row.prompt[-1] in "?."
        for text in (row.red_answer, row.blue_answer):
            assert text.endswith(".")
            assert not re.search(r"  | [.,]|[\[\]|<>]|\b(\w+) \1\b(?<!that that)", text), text
            assert not re.search(r"\b[Aa] [aeiou]", text.replace("a un", "").replace("a us", "")), (
                text
            )
            assert not re.search(r"\b[Aa]n [^aeiouh]", text), text
            assert all(part[0].isupper() for part in text.split(". ")), text


def test_same_seed_gives_the_same_rows():
    first = [next(grammar.draw("demo", 3, "demo")) for _ in range(2)]
    assert first[0] == first[1]
    assert first[0] != next(grammar.draw("demo", 4, "demo"))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_seeds_work_too(seed):
    assert len(list(grammar.draw("demo", seed, "demo"))) >= 2_000


def test_unknown_grammar_names_the_known():
    with pytest.raises(wm_data.WmDataError, match="known: demo"):
        next(grammar.draw("nonsense", 0, "demo"))


def test_frames_that_cannot_obey_are_an_error(monkeypatch):
    frame = grammar.Frame(red="The end of <topic>.", blue="The end of <topic>.")
    domain = grammar.Domain(
        topics=["law"], prompts=["<topic>?"], open=[frame], middle=[frame], close=[frame]
    )
    rules = grammar.load("demo")[0]
    monkeypatch.setattr(grammar, "load", lambda _: (rules, {"bad": domain}))
    with pytest.raises(wm_data.WmDataError, match="law"):
        next(grammar.draw("demo", 0, "demo"))
