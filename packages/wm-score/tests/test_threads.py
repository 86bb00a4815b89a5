"""Threads share the memos; what each of them reads is what it would read alone."""

from __future__ import annotations

import random
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import wm_score
from wm_score import counting, splitting, tokenizer

HAN = [chr(c) for c in range(0x4E00, 0x9000)]
PROBES = ["中 , b \n\n c it's 7", "it's ſ — don't, 42  A\n\nz", "plain words, <think>and</think> 3"]
THREADS = 4
ROUNDS = 150


@pytest.fixture
def crowded(monkeypatch):
    """Memos that are full all the time, and threads that change places all the time."""
    monkeypatch.setattr(splitting, "SHAPES_KEPT", 140)
    monkeypatch.setattr(tokenizer, "MEMO_ENTRIES", 5)
    monkeypatch.setattr(counting, "UNITS_KEPT", 5)
    monkeypatch.setattr(counting, "PIECES_KEPT", 5)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_full_memos_are_emptied_under_other_threads_and_change_nothing(crowded):
    expected = [(splitting.pieces(p), wm_score.encode(p), wm_score.score(p)) for p in PROBES]

    def wrong(seed: int) -> int:
        rng = random.Random(seed)
        found = 0
        for _ in range(ROUNDS):
            wm_score.encode("".join(rng.choices(HAN, k=40)) + " x1, don't")
            wm_score.score(" ".join(rng.choices(HAN, k=20)))
            again = [(splitting.pieces(p), wm_score.encode(p), wm_score.score(p)) for p in PROBES]
            found += again != expected
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(wrong, range(THREADS))) == [0] * THREADS


def test_any_shape_that_was_forgotten_is_found_again():
    """Whatever a thread takes out of the table while another reads it, ASCII too."""
    shapes = splitting._shapes()
    text = "".join(map(chr, range(0x250))) + "中½\u3000"
    before = text.translate(shapes)
    assert before[:128] == text[:128]
    shapes.clear()
    assert text.translate(shapes) == before
