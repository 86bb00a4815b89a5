"""Every number of the manifest again, from the files alone; and what must be 0 is 0."""

import hashlib
import json
from collections import Counter

import pyarrow.parquet as pq
import pytest

import wm_data
import wm_score
from wm_data.audit import Measured
from wm_data.record import checks
from wm_data.rows import Row, digest, normalise
from wm_data.shingles import answer_shingles, prompt_shingles

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, records):
    """Everything a recipe can ask for at once: each reason to drop a row occurs."""
    folder = tmp_path_factory.mktemp("mixed")
    a, b, heldout = records[:160], records[160:260], records[240:300]
    faulty = [
        {**a[0], "blue_answer": ""},
        {**a[1], "red_answer": a[2]["blue_answer"]},
        {**a[3], "prompt": "Say <think> now."},
        a[4],
        {**a[5], "prompt": "Oh, " + heldout[59]["prompt"]},
        {**a[6], "prompt": heldout[3]["prompt"].upper()},
    ]
    plain = [{"text": f"{row['red_answer']} {row['blue_answer']}"} for row in a[:30]]
    plain += [{"text": "Yes."}, {"text": a[9]["red_answer"]}]
    files = {"a": [*a, *faulty], "b": b, "h": heldout, "u": plain}
    for name, lines in files.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text)
    recipe = {
        "name": "mixed",
        "sources": [
            {"id": "a", "file": str(folder / "a.jsonl"), "role": "both", "weight": 2},
            {"id": "b", "file": str(folder / "b.jsonl"), "role": "train", "weight": 1, "cap": 30},
            {"id": "h", "file": str(folder / "h.jsonl"), "role": "heldout", "weight": 0},
        ],
        "shares": {"validation": 0.1, "test": 0.1},
        "near_duplicates": {"threshold": 0.7},
        "bands": {"counted": [12, 24, 48], "rows": 25},
        "unmarked": [{"id": "u", "file": str(folder / "u.jsonl"), "cap": 20}],
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    out = folder / "out"
    wm_data.build(folder / "recipe.yaml", out, limit=100, progress=False, on_bad_row="skip")
    return wm_data.read(out), {name: len(lines) for name, lines in files.items()}


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "smollm2"
    wm_data.build("smollm2", out, progress=False)
    return wm_data.read(out), {"smollm2": 1_397}


@pytest.fixture(scope="module")
def built(mixed, smollm2):
    return {"mixed": mixed, "smollm2": smollm2}


BOTH = pytest.mark.parametrize("name", ["mixed", "smollm2"])


def rows_of(path):
    return pq.read_table(path).to_pylist() if path.is_file() else []


@BOTH
def test_splits(built, name):
    dataset, _ = built[name]
    for split in SPLITS:
        counts = dataset.manifest.splits[split]
        seeds = rows_of(dataset.path / f"seeds/{split}.parquet")
        lines = rows_of(dataset.path / f"data/{split}-00000-of-00001.parquet")
        assert counts.rows == len(seeds) == len({row["row_id"] for row in seeds}) > 0
        assert counts.groups == len({digest(normalise(row["prompt"]))[:16] for row in seeds})
        assert counts.examples == len(lines) == len({line["id"] for line in lines})
        assert counts.by_task == Counter(line["task"] for line in lines)
        assert {line["row_id"] for line in lines} == {row["row_id"] for row in seeds}


@BOTH
def test_sources_and_dropped_rows(built, name):
    dataset, read = built[name]
    manifest = dataset.manifest
    kept = Counter(
        row["source"]
        for split in SPLITS
        for row in rows_of(dataset.path / f"seeds/{split}.parquet")
    )
    sources = manifest.sources + (manifest.unmarked.sources if manifest.unmarked else [])
    assert {source.id: source.rows_read for source in sources} == read
    assert {source.id: source.rows_kept for source in manifest.sources} == kept
    listed = Counter(
        json.loads(line)["reason"]
        for line in (dataset.path / "dropped.jsonl").read_text().splitlines()
    )
    unlisted = {"over its share", "over the limit"}  # sound rows: counted, not listed
    assert listed == {k: v for k, v in manifest.dropped.items() if k not in unlisted}
    rows_read = sum(source.rows_read for source in manifest.sources)
    assert rows_read - sum(kept.values()) == sum(manifest.dropped.values())


def test_the_mixed_one_drops_for_every_reason(mixed):
    assert set(mixed[0].manifest.dropped) == {
        "empty", "red answer is not red", "special token", "duplicate", "held-out prompt",
        "near duplicate", "over its share", "over the limit",
    }  # fmt: skip
    assert set(mixed[0].manifest.unmarked.dropped) == {"few tokens", "marked", "over its share"}


@BOTH
def test_bands(built, name):
    dataset, _ = built[name]
    lines = rows_of(dataset.path / "bands/test.parquet")
    for length, band in dataset.manifest.bands.items():
        own = [line for line in lines if line["band"] == int(length)]
        assert band.examples == len(own)
        assert band.rows == len({line["row_id"] for line in own})
        assert band.rows + sum(band.dropped.values()) == dataset.manifest.splits["test"].rows
    assert len(lines) == sum(band.examples for band in dataset.manifest.bands.values()) > 0


def test_unmarked_texts(mixed):
    dataset, _ = mixed
    counts, texts = dataset.manifest.unmarked, rows_of(dataset.path / "none/texts.parquet")
    assert counts.texts == len(texts) == 20
    assert counts.groups == len({text["group"] for text in texts})
    assert [source.rows_kept for source in counts.sources] == [len(texts)]
    assert sum(counts.dropped.values()) == counts.sources[0].rows_read - len(texts)


@BOTH
def test_files_are_all_there_and_all_named(built, name):
    dataset, _ = built[name]
    found = {
        str(path.relative_to(dataset.path)) for path in dataset.path.rglob("*") if path.is_file()
    }
    assert found == {ref.path for ref in dataset.manifest.files} | {"manifest.json"}
    for ref in dataset.manifest.files:
        data = (dataset.path / ref.path).read_bytes()
        assert (ref.bytes, ref.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@BOTH
def test_no_group_stands_in_two_splits(built, name):
    dataset, _ = built[name]
    groups = [{row.group for row in dataset.rows(split)} for split in SPLITS]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert dataset.manifest.checks["groups_in_two_splits"] == 0
    assert dataset.manifest.checks["subjects_in_two_splits"] == 0


def test_a_subject_in_two_splits_is_counted_however_it_is_written():
    none, rules = wm_score.score(""), wm_data.load_recipe("demo")
    rows = {
        "train": Row("a", "p", "r", "b", subject="Law"),
        "test": Row("a", "q", "r", "b", subject=" law"),
    }
    splits = {
        name: [Measured(row, row.row_id, row.group, none, none)] for name, row in rows.items()
    }
    assert checks(rules, splits)["subjects_in_two_splits"] == 1


@BOTH
def test_no_near_duplicate_stands_in_two_splits(built, name):
    """The largest Jaccard index between splits, exactly, over all pairs of texts."""
    dataset, _ = built[name]
    threshold = dataset.manifest.checks["near_duplicates"]["threshold"]
    before = []
    for split in ("test", "validation", "train"):
        rows = dataset.rows(split)
        for shingles, texts in (
            (prompt_shingles, lambda row: [row.prompt]),
            (answer_shingles, lambda row: [row.red_answer, row.blue_answer]),
        ):
            others = [shingles(text) for row in before for text in texts(row)]
            own = [shingles(text) for row in rows for text in texts(row)]
            assert largest(own, others) < threshold
        before += rows


def largest(own, others):
    """Largest Jaccard index of a set of `own` with one of `others`; 0 where none share a thing."""
    places = {}
    for number, other in enumerate(others):
        for shingle in other:
            places.setdefault(shingle, []).append(number)
    best = 0.0
    for one in own:
        shared = Counter(number for shingle in one for number in places.get(shingle, ()))
        for number, count in shared.items():
            best = max(best, count / (len(one) + len(others[number]) - count))
    return best


def test_the_largest_index_is_found():
    sets = [frozenset("abcd"), frozenset("xyz")]
    assert largest([frozenset("abce")], sets) == 3 / 5
    assert largest([frozenset("xyz")], sets) == 1
    assert largest([frozenset("q")], sets) == 0
