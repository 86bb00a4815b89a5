"""Spans cover the text, agree with the ids, and point at the characters the bytes came from."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wm_score
from wm_score.splitting import clean, nfc

ATOMS = ["a", "the ", " Word", "é", "e\u0301", "\u0323", "\u0301", "\u0345", "\u0898", "\n", "  "]
ATOMS += [
    "中",
    "🙂",
    "👩‍👧",
    "\u1112\u1161\u11ab",
    "\u1100",
    "\u1161",
    "\u212b",
    "\u0f73",
    "=",
    "\u0338",
]
ATOMS += ["<think>", "<|im_end|>", "\u0344", "か\u3099", "\U0001d160", "\ud800", "'s", "1", "..."]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(ATOMS), max_size=12).map("".join) | st.text(max_size=20))
def test_spans_fit_the_text(text):
    found = wm_score.tokens(text)
    assert [token.id for token in found] == wm_score.encode(text)
    shown = clean(text)
    done = 0
    for token in found:
        assert token.start < token.end
        assert token.start <= done  # nothing is left out
        assert token.end >= done
        done = token.end
        # The token's bytes come from its characters.
        assert token.bytes in nfc(shown[token.start : token.end]).encode() or not shown.isascii()
    assert done == len(shown)


CASES = {
    "ASCII": ("The end.", ["The", " end", "."]),
    "decomposed accent": ("cafe\u0301 e\u0301", ["ca", "fe\u0301", " e\u0301"]),
    "added token": ("a<think>b", ["a", "<think>", "b"]),
}


@pytest.mark.parametrize(("text", "parts"), CASES.values(), ids=CASES.keys())
def test_spans_of_known_texts(text, parts):
    assert [text[t.start : t.end] for t in wm_score.tokens(text)] == parts


def test_tokens_of_one_character_share_its_span():
    found = wm_score.tokens("🫠")
    assert len(found) > 1
    assert {(token.start, token.end) for token in found} == {(0, 1)}
    assert {token.colour for token in found} == {"none"}


def test_colours_add_up_to_the_score():
    text = "Some counted words, 42 of them, and a <think> token."
    found = wm_score.tokens(text)
    total = wm_score.score(text)
    assert sum(token.colour == "red" for token in found) == total.even
    assert sum(token.colour == "blue" for token in found) == total.odd
    assert sum(not token.counted for token in found) == total.ignored
