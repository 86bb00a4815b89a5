"""Counts by units equal counts of ids, wherever a text is cut."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wm_score
from wm_score import counting
from wm_score.tables import classes

WHITE = sorted(counting.WHITE)
ATOMS = [*WHITE, " ", " ", " ", "\n", "a", "the", "B", "'s", "'", ".", "!?", "1", "é", "e\u0301"]
ATOMS += ["\u0301", "中", "<think>", "<", "\0", "\1", "\ud800", "🙂", "\u200b", "x" * 70]


def plain(text: str) -> wm_score.Score:
    return wm_score.score_ids(wm_score.encode(text))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(ATOMS), max_size=12).map("".join))
def test_units_count_what_ids_count(text):
    assert wm_score.score(text) == plain(text)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(ATOMS), max_size=8).map("".join),
    st.lists(st.sampled_from(ATOMS), max_size=8).map("".join),
)
def test_no_token_crosses_a_border(left, right):
    """The property that the whole of counting rests on, for both kinds of border."""
    text = left + right
    for border in (m.end() for m in counting.CUT.finditer(text)):
        parts = wm_score.encode(text[:border]) + wm_score.encode(text[border:])
        assert parts == wm_score.encode(text)


def test_white_space_is_the_shipped_class():
    shipped = {chr(c) for first, last in classes()["space"] for c in range(first, last + 1)}
    assert shipped == counting.WHITE


@pytest.mark.parametrize("white", WHITE, ids=ascii)
def test_each_white_space_before_a_space(white):
    for text in (f"a{white} b", f"a{white}  {white} b c", f"{white} ", f" {white}a", f"a {white}b"):
        assert wm_score.score(text) == plain(text), ascii(text)


def test_long_texts_are_cut_into_chunks_that_change_nothing(monkeypatch):
    rng = random.Random(3)
    text = "".join(rng.choices([*ATOMS, " word", " other", "\n"], k=4000))
    expected = plain(text)
    monkeypatch.setattr(counting, "CHUNK", 50)
    monkeypatch.setattr(counting, "LONGEST", 80)
    assert "".join(counting.chunks(text)) == text
    assert wm_score.score(text) == expected


def test_full_memos_are_emptied_and_change_nothing(monkeypatch):
    monkeypatch.setattr(counting, "UNITS_KEPT", 20)
    monkeypatch.setattr(counting, "PIECES_KEPT", 10)
    counting.UNITS.clear()
    counting.PIECES.clear()
    rng = random.Random(4)
    for _ in range(200):
        text = " ".join("".join(rng.choices("abcde.,1", k=rng.randint(1, 3))) for _ in range(30))
        assert wm_score.score(text) == plain(text)
        assert len(counting.UNITS) <= 21
        assert len(counting.PIECES) <= 11


def test_counts_of_a_chunk_fit_their_field():
    # The character that becomes most bytes under NFC: 12 of them, none of which merge.
    assert wm_score.score("\U0001d160" * 3).ignored * counting.LONGEST / 3 < counting.ODD


@pytest.mark.parametrize(
    "text",
    ["", " ", "\0", "\ud800", "a\udfffb", "\ud83d\ude00", "\ufffe", "a" * 10_000, "é" * 10_000],
    ids=ascii,
)
def test_hostile_text(text):
    assert wm_score.score(text) == plain(text)


def test_lone_surrogates_are_replacement_characters():
    assert wm_score.encode("a\ud800b") == wm_score.encode("a\ufffdb")
    assert wm_score.encode("\ud83d\ude00") == wm_score.encode("😀")


def test_memory_stays_bounded_under_text_that_never_repeats(monkeypatch):
    monkeypatch.setattr(counting, "UNITS_KEPT", 3000)
    monkeypatch.setattr(counting, "PIECES_KEPT", 1000)
    rng = random.Random(6)
    wm_score.score("warm up é")

    def texts():
        for _ in range(20):
            yield " ".join(f"{rng.getrandbits(60):x}" for _ in range(1000))

    counting.UNITS.clear()
    counting.PIECES.clear()
    tracemalloc.start()
    scored = sum(1 for _ in wm_score.score_many(texts()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert scored == 20
    assert len(counting.UNITS) <= 3001
    assert len(counting.UNITS.older) <= 3001
    assert len(counting.PIECES) <= 1001
    assert peak < 3e6  # bytes; 20,000 units that never come again would take more


def test_score_many_is_lazy_and_in_order():
    seen = []

    def texts():
        for text in ["one two", "three", ""]:
            seen.append(text)
            yield text

    found = wm_score.score_many(texts())
    assert next(found) == wm_score.score("one two")
    assert seen == ["one two"]
    assert list(found) == [wm_score.score("three"), wm_score.Score(0, 0, 0)]
