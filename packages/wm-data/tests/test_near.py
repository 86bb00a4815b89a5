"""Near duplicates between splits are found, also when they are paraphrases, and training loses."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import wm_data
import wm_score
from wm_data.audit import Measured
from wm_data.near import _Index, drop_near
from wm_data.recipe import NearRules
from wm_data.rows import Row
from wm_data.shingles import (
    answer_hashes,
    answer_shingles,
    jaccard,
    prompt_hashes,
    prompt_shingles,
)

NEAR = {"threshold": 0.8}


def build(write_recipe, write_lines, tmp_path, train, test, **rules):
    recipe = write_recipe(
        {"id": "a", "file": write_lines(train, "a.jsonl"), "role": "train"},
        {"id": "b", "file": write_lines(test, "b.jsonl"), "role": "heldout"},
        **rules,
    )
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False)
    return manifest, wm_data.read(tmp_path / "out")


@pytest.fixture
def apart(records):
    """40 and 40 records whose prompts and answers are not near each other."""
    chosen, seen = [], []
    for record in records:
        shingles = [prompt_shingles(record["prompt"])] + [
            answer_shingles(record[name]) for name in ("red_answer", "blue_answer")
        ]
        if all(jaccard(a, b) < 0.8 for old in seen for a, b in zip(old, shingles, strict=True)):
            chosen.append(record)
            seen.append(shingles)
    assert len(chosen) >= 80
    return chosen[:40], chosen[40:80]


def test_rows_that_are_apart_stay(apart, write_recipe, write_lines, tmp_path):
    manifest, _ = build(write_recipe, write_lines, tmp_path, *apart, near_duplicates=NEAR)
    assert manifest.dropped == {}
    assert manifest.checks["near_duplicates"] == {
        "threshold": 0.8, "prompt_characters": 5, "answer_words": 3
    }  # fmt: skip


@pytest.mark.parametrize(
    "plant",
    [
        lambda old, new: {**new, "prompt": "Oh, " + old["prompt"].replace("?", "!")},
        lambda old, new: {
            **new,
            "red_answer": "Well, " + old["red_answer"].replace("It ", "That "),
        },
        lambda old, new: {**new, "blue_answer": old["blue_answer"].upper().replace(" ", "  ")},
        lambda old, new: {**new, "blue_answer": old["blue_answer"] + " So there."},
    ],
    ids=["prompt", "red answer", "case and spaces", "longer"],
)
def test_a_planted_paraphrase_is_found(apart, write_recipe, write_lines, tmp_path, plant):
    train, test = apart
    planted = plant(max(test, key=lambda record: len(record["prompt"])), train[0])
    rules = {"near_duplicates": NEAR, "audit": {"max_length_ratio": 2.0, "min_counted": 5}}
    manifest, dataset = build(write_recipe, write_lines, tmp_path, [*train, planted], test, **rules)
    reasons = set(manifest.dropped)
    if planted["blue_answer"].isupper():  # upper case has other tokens: it may fail the audit first
        assert reasons & {"near duplicate", "blue answer is not blue"}
    else:
        assert manifest.dropped == {"near duplicate": 1}
    kept = {row.prompt for split in ("train", "validation") for row in dataset.rows(split)}
    assert len(kept | {row.prompt for row in dataset.rows("test")}) == 80
    assert manifest.splits["test"].rows == 40


def test_no_pair_above_the_threshold_is_left(records, write_recipe, write_lines, tmp_path):
    """By brute force over all pairs of a source that is full of near duplicates."""
    recipe = write_recipe(
        {"id": "a", "file": write_lines(records)}, near_duplicates={"threshold": 0.6}
    )
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False)
    assert manifest.dropped["near duplicate"] > 0
    dataset = wm_data.read(tmp_path / "out")
    for one, two in itertools.combinations(("train", "validation", "test"), 2):
        for a, b in itertools.product(dataset.rows(one), dataset.rows(two)):
            assert jaccard(prompt_shingles(a.prompt), prompt_shingles(b.prompt)) < 0.6
            for x, y in itertools.product(
                (a.red_answer, a.blue_answer), (b.red_answer, b.blue_answer)
            ):
                assert jaccard(answer_shingles(x), answer_shingles(y)) < 0.6


WORDS = st.lists(
    st.sampled_from(["a", "bb", "Ab", "c.", "\u00e9", "\0", "\0\0", "\ud800", "\U0001f600"])
)
TEXTS = st.one_of(st.text(max_size=40), WORDS.map(" ".join))


@given(TEXTS, TEXTS)
@example("", "")
@example("a a a a a a", "a a a")
@example("one two", "one two three four")
def test_hashes_compare_as_the_shingles_do(one, two):
    for shingles, hashes in ((prompt_shingles, prompt_hashes), (answer_shingles, answer_hashes)):
        a, b = shingles(one), shingles(two)
        x, y = hashes(one), hashes(two)
        assert (len(x), len(y)) == (len(a), len(b))
        assert len(np.intersect1d(x, y)) == len(a & b)


SETS = st.lists(st.sets(st.integers(0, 12), min_size=1, max_size=9), max_size=8)


@given(SETS, st.sets(st.integers(0, 12), min_size=1, max_size=9), st.integers(1, 20))
def test_the_search_is_exact(sets, wanted, twentieths):
    """As a comparison with every set would decide, at thresholds that sets do reach."""
    threshold = twentieths / 20

    def hashes(found):
        return np.array(sorted(found), np.uint64)

    index = _Index([hashes(found) for found in sets], threshold)
    near = any(len(wanted & found) / len(wanted | found) >= threshold for found in sets)
    assert index.has_near(hashes(wanted)) == near


def test_rows_of_one_prompt_are_compared_once(monkeypatch):
    """Pairs of rows would be too many: of 120,000 rows with 1,200 prompts, a hundred million."""
    asked = []
    jaccard = _Index._jaccard
    monkeypatch.setattr(
        _Index, "_jaccard", staticmethod(lambda *two: asked.append(1) or jaccard(*two))
    )
    none = wm_score.score("")

    def rows(prompt):
        found = [Row("a", prompt, f"{prompt} red {n}", f"{prompt} blue {n}") for n in range(20)]
        return [Measured(row, row.row_id, row.group, none, none) for row in found]

    splits = {
        "train": rows("Tell me about law in Rome?"),
        "validation": [],
        "test": rows("Tell me about law in Turin?"),
    }
    kept, lost = drop_near(splits, NearRules(), progress=False)
    assert (kept, lost) == (splits, [])
    assert len(asked) == 1, "the prompts; no answers have three words in common"


def test_texts_that_share_a_rare_word_or_two_are_not_compared(monkeypatch):
    """Each of 120,000 prompts shares some with hundreds: to compare them took half an hour."""
    asked = []
    monkeypatch.setattr(_Index, "_jaccard", staticmethod(lambda *two: asked.append(1) or 0.0))
    number = np.arange(100, dtype=np.uint64)
    index = _Index([number + 90, number[:50], number + 5], 0.8)
    assert not index.has_near(number)
    assert len(asked) == 1  # the last, which shares 95; not the one too short, nor that of ten


def test_a_recipe_that_says_nothing_looks_for_them(tmp_path, write_lines, apart):
    """Reading shows the answers: a copy of one in training would be known by heart."""
    train, test = apart
    copy = {**test[0], "prompt": "Something else entirely, as it were?"}
    places = [write_lines([*train, copy], "a.jsonl"), write_lines(test, "b.jsonl")]
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"name: mine\nsources:\n- {{id: a, file: {places[0]}, role: train}}\n"
        f"- {{id: b, file: {places[1]}, role: heldout}}\n"
    )
    manifest = wm_data.build(str(recipe), tmp_path / "out", progress=False)
    assert manifest.dropped == {"near duplicate": 1}
    assert "index of 0.8 or more) were dropped" in (tmp_path / "out/README.md").read_text()


def test_a_dataset_says_that_nobody_looked_for_them(demo):
    assert demo.manifest.recipe["near_duplicates"] is None
    assert "merely alike were not looked for" in (demo.path / "README.md").read_text()


def test_a_recipe_of_an_earlier_version_is_read(write_recipe, write_lines, records):
    """Its manifest names the permutations of the search of then: a run can be repeated."""
    rules = {"threshold": 0.8, "permutations": 128}
    recipe = write_recipe({"id": "a", "file": write_lines(records)}, near_duplicates=rules)
    assert wm_data.load_recipe(recipe).near_duplicates.threshold == 0.8
