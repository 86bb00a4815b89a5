"""P-values: valid on unmarked text, never zero, blind to loops; windows corrected for their number."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pydoc_data import topics

import pytest

import wm_score
from wm_score import null_file
from wm_score.fitting import fit
from wm_score.null import distinct, tail
from wm_score.proof import choose, counted_ids, evidence_of, lowest_p
from wm_score.rate import highest_rate

GENRES = ["assistant_en", "code", "news_de", "news_en"]


def unmarked(n: int, length: int) -> list[list[int]]:
    """Counted ids of text that nobody marked: Python's own manual, cut into pieces."""
    pieces = []
    for topic in sorted(topics.topics):
        ids = counted_ids(topics.topics[topic])
        pieces += [ids[i : i + length] for i in range(0, len(ids) - length + 1, length)]
    return random.Random(0).sample(pieces, n)


def drawn(rng: random.Random, n: int, share: float) -> list[int]:
    """Counted ids by a coin: distinct, with the null's share of even ones."""
    return [2 * i + (rng.random() >= share) for i in range(1000, 1000 + n)]


@pytest.mark.parametrize("colour", ["red_p", "blue_p"])
@pytest.mark.parametrize("length", [30, 100])
def test_default_null_is_cautious_on_text_it_never_saw(colour, length):
    ps = [getattr(evidence_of(ids), colour) for ids in unmarked(250, length)]
    assert sum(p <= 0.01 for p in ps) <= 10  # 250 fair ones give that many in 1 of 3,000 cases
    assert sum(p <= 0.1 for p in ps) <= 45


@pytest.mark.parametrize("genre", GENRES)
def test_p_is_never_zero_nor_below_what_the_pieces_support(genre):
    found = evidence_of(range(2000, 4000, 2), genre)
    assert found.red_p == 1 / (found.pieces + 1)
    assert found.blue_p == 1.0
    assert found.documents <= found.pieces


@pytest.mark.parametrize("share", [0.4, 0.5, 0.65])
def test_default_is_above_every_shipped_null(share):
    """By the rate that each null's rank may stand for, not by the rank alone."""
    ids = drawn(random.Random(1), 60, share)
    single = [evidence_of(ids, genre) for genre in GENRES]
    found = evidence_of(ids)
    for colour in ("red_p", "blue_p"):
        assert getattr(found, colour) > max(getattr(one, colour) for one in single)
    assert found.pieces == min(one.pieces for one in single)


def test_default_never_claims_less_than_3_in_its_pieces():
    found = evidence_of(range(2000, 4000, 2))
    fewest = min(null.pieces for null in null_file.shipped().values())
    assert 2.9 / fewest < found.red_p < 3 / fewest
    assert found.red_p == lowest_p("default")


@pytest.mark.parametrize(
    ("hits", "n"), [(0, 99), (1, 99), (7, 368), (60, 120), (300, 800), (98, 99)]
)
def test_highest_rate_is_where_so_few_hits_have_one_chance_in_20(hits, n):
    p = highest_rate(hits, n)
    chance = sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(hits + 1))
    assert chance == pytest.approx(0.05, rel=1e-6)


def test_a_loop_adds_nothing():
    text = " The committee approved an even plan before the winter session began."
    once, often = wm_score.evidence(text), wm_score.evidence(text * 50)
    assert (often.red_p, often.blue_p) == (once.red_p, once.blue_p)


def test_more_marked_text_is_more_evidence():
    rng = random.Random(2)
    ps = [evidence_of(drawn(rng, n, 0.7), "assistant_en").red_p for n in (20, 60, 200)]
    assert ps[0] > ps[1] >= ps[2]
    assert ps[2] < 0.01


@pytest.mark.parametrize("null", [*GENRES, "default"])
def test_no_text_is_no_evidence(null):
    found = wm_score.evidence("... !!", null)
    assert (found.distinct_even, found.distinct_odd) == (0, 0)
    assert found.red_p == found.blue_p == 1.0


def test_tails_are_the_binomial_ones_at_dispersion_1():
    n, share = 25, 0.47
    for k in range(n + 1):
        above, at = tail(k, n, share, 1.0)
        terms = [math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(n + 1)]
        assert at == pytest.approx(terms[k], rel=1e-9, abs=1e-300)
        assert above == pytest.approx(sum(terms[k + 1 :]), rel=1e-9, abs=1e-300)


def test_far_tails_keep_their_digits():
    above, at = tail(99, 100, 0.5, 1.0)
    assert above + at == pytest.approx((1 + 100) / 2**100, rel=1e-9)


def test_a_null_of_ones_own_is_calibrated():
    rng = random.Random(3)
    made = fit([drawn(rng, 60, 0.46) for _ in range(400)], "coins", "")
    share, dispersion = made.expected(30)
    assert share == pytest.approx(0.46, abs=0.015)
    assert dispersion == pytest.approx(1, abs=0.15)
    ps = [evidence_of(drawn(rng, 60, 0.46), made) for _ in range(600)]
    for colour in ("red_p", "blue_p"):
        assert 0.02 <= sum(getattr(p, colour) <= 0.05 for p in ps) / 600 <= 0.09


def test_a_null_survives_its_file(tmp_path):
    rng = random.Random(4)
    made = fit([drawn(rng, 40, 0.5) for _ in range(200)], "mine", "coins")
    path = tmp_path / "null.json"
    path.write_text(made.to_json())
    assert wm_score.load_null(str(path)) == made


BAD_NULLS = {
    "not JSON": "{",
    "not an object": "[]",
    "another format": '{"format": "x"}',
    "a field missing": '{"format": "wm-score null 1", "codebook": "v1"}',
    "another codebook": '{"format": "wm-score null 1", "codebook": "v9"}',
}


@pytest.mark.parametrize("content", BAD_NULLS.values(), ids=BAD_NULLS.keys())
def test_a_bad_null_file_is_refused(tmp_path, content):
    path = tmp_path / "null.json"
    path.write_text(content)
    with pytest.raises(wm_score.InputError, match=r"null\.json"):
        wm_score.load_null(str(path))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("share", [0.0, 0.0]),
        ("share", [1.0, 0.0]),
        ("share", [float("nan"), 0.0]),
        ("share", [0.5, float("inf")]),
        ("dispersion", [float("nan"), 0.0]),
        ("dispersion", [float("inf"), 0.0]),
        ("reach", [0, 64]),
        ("reach", [64, 16]),
        ("red", [float("nan")] * 200),
        ("documents", float("inf")),
    ],
)
def test_a_null_file_with_an_impossible_figure_is_refused(tmp_path, field, value):
    record = json.loads(null_file.shipped()["code"].to_json()) | {"name": "own"}
    if field == "red":
        record["blue"] = value
    record[field] = value
    path = tmp_path / "null.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(wm_score.InputError, match=r"null\.json: .*(impossible|Error)"):
        wm_score.load_null(str(path))


def test_a_steep_line_of_shares_ends_before_0_and_1():
    steep = dataclasses.replace(null_file.shipped()["code"], share=(0.5, 0.4), reach=(2, 4096))
    for n in (2, 64, 4096):
        assert all(0 < p <= 1 for p in steep.p(n // 2, n - n // 2))


def test_too_few_documents_are_refused():
    with pytest.raises(wm_score.InputError, match="needs 30 documents and 99"):
        wm_score.fit_null(["A short text of a few words that nobody has marked so far."], "few")


def test_an_unknown_null_is_named():
    with pytest.raises(wm_score.InputError, match="assistant_en"):
        choose("nonsense")


def test_shipped_nulls_say_where_they_are_from():
    for name, null in null_file.shipped().items():
        assert name in GENRES
        assert "SHA-256" in null.source
        assert null.pieces >= null.documents >= 40
        assert list(null.red) == sorted(null.red)


def test_best_window_of_unmarked_text_has_a_valid_p():
    """Uniform or larger: no level is undercut, over texts of many windows."""
    manual = "\n".join(text for _, text in sorted(topics.topics.items()))
    texts = [manual[i : i + 8_000] for i in range(0, len(manual), 8_000)]
    assert len(texts) >= 40
    best = {"red_p": [], "blue_p": []}
    for text in texts[:50]:
        found = wm_score.windows(text)
        assert len(found) > 5
        for colour, ps in best.items():
            ps.append(min(getattr(window, colour) for window in found))
    for ps in best.values():
        for level in (0.01, 0.05, 0.1, 0.3):
            expected = level * len(ps)
            assert sum(p <= level for p in ps) <= expected + 2.6 * math.sqrt(expected)


def test_windows_find_the_marked_stretch():
    rng = random.Random(5)
    plain = " ".join(topics.topics["assignment"].split()[:300])
    red = [wm_score.token_bytes(i) for i in range(2000, 20000, 2)]
    words = [t.decode() for t in red if t[:1] == b" " and t[1:].isalpha() and t.isascii()]
    marked = "".join(rng.sample(words, 80))
    text = plain + marked + " " + plain
    found = wm_score.windows(text)
    best = min(found, key=lambda window: window.red_p)
    assert best.red_p <= 0.01
    assert best.start >= len(plain) - 300
    assert best.end <= len(plain) + len(marked) + 300
    assert min(window.blue_p for window in found) > 0.05


def test_windows_cover_every_counted_token():
    text = topics.topics["assignment"][:6000]
    found = wm_score.windows(text, size=20)
    covered = {i for window in found for i in range(window.start, window.end)}
    missed = [t for t in wm_score.tokens(text) if t.counted and t.start not in covered]
    assert not missed
    assert all(window.even + window.odd == 20 for window in found)


def test_window_of_a_text_without_letters_is_none():
    assert wm_score.windows("... !!") == []
    with pytest.raises(wm_score.InputError, match="8 or more"):
        wm_score.windows("text", size=2)


def test_distinct_counts_each_id_once():
    assert distinct([4, 4, 4, 5, 7]) == (1, 2)
