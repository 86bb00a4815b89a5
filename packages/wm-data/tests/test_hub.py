"""Hub sources through the real `datasets` and `huggingface_hub`, against a local server."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import wm_data
from wm_data.hub import choose_splits
from wm_data.recipe import Source


def parquet(records):
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), buffer)
    return buffer.getvalue()


def test_builds_from_the_hub_at_recorded_commits(hub, records, write_recipe, tmp_path):
    """A tag stands for the commit that it names, no name for the newest."""
    old = hub.seeds.give({"data/train-00000-of-00001.parquet": parquet(records[:200])}).oid
    hub.seeds.tags["v1"] = old
    new = hub.seeds.give(
        {
            "data/train-00000-of-00001.parquet": parquet(records[:10]),
            "data/test-00000-of-00001.parquet": parquet(records[200:]),
        }
    ).oid
    recipe = write_recipe(
        {"id": "high", "role": "train"}, {"id": "high-heldout", "role": "heldout"}
    )
    done = hub.run(
        "build", "--recipe", recipe, "--out", str(tmp_path / "out"),
        "--source.high", "someone/seeds@v1", "--source.high-heldout", "someone/seeds",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no bars of `datasets`, where stderr is no terminal
    dataset = wm_data.read(tmp_path / "out")
    assert [(ref.kind, ref.location, ref.revision) for ref in dataset.manifest.sources] == [
        ("hub", "someone/seeds", old),
        ("hub", "someone/seeds", new),
    ]
    assert [source["revision"] for source in dataset.manifest.recipe["sources"]] == [old, new]
    assert {row.prompt for row in dataset.rows("test")} == {r["prompt"] for r in records[200:]}
    assert dataset.manifest.splits["test"].rows == 100
    assert dataset.manifest.sources[0].rows_read == 200


def test_unmarked_texts_from_the_hub(hub, here, records, write_recipe, write_lines, tmp_path):
    plain = [{"answer": record["prompt"] * 4} for record in records[:20]]
    commit = hub.seeds.give({"data/train-00000-of-00001.parquet": parquet(plain)}).oid
    unmarked = {"id": "u", "hub": "someone/seeds", "columns": {"text": "answer"}}
    recipe = write_recipe({"id": "a", "file": write_lines(records)}, unmarked=[unmarked])
    done = here("build", "--recipe", recipe, "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    manifest = wm_data.read(tmp_path / "out").manifest
    assert [(ref.kind, ref.revision) for ref in manifest.unmarked.sources] == [("hub", commit)]
    assert manifest.recipe["unmarked"][0]["revision"] == commit
    assert manifest.unmarked.texts + sum(manifest.unmarked.dropped.values()) == 20


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nobody/nothing", "hub dataset nobody/nothing: not found, or private"),
        ("someone/seeds@v9", "has no revision 'v9'"),
        ("someone/seeds", "has no column 'red_answer'; it has prompt, answer"),
    ],
    ids=["unknown id", "unknown revision", "missing column"],
)
def test_bad_hub_sources(hub, here, tmp_path, place, message):
    hub.seeds.give({"data/train-00000-of-00001.parquet": parquet([{"prompt": "p", "answer": "a"}])})
    out = tmp_path / "out"
    done = here("build", "--recipe", "medium", "--out", str(out), "--source.medium", place)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not out.exists()


CARD = """---
configs:
- config_name: even
  data_files: even/*.parquet
- config_name: odd
  data_files: odd/*.parquet
---
"""


def test_one_of_several_configs_is_named_in_the_recipe(hub, here, records, write_recipe, tmp_path):
    hub.seeds.give(
        {
            "README.md": CARD.encode(),
            "even/train.parquet": parquet(records[:200]),
            "odd/train.parquet": parquet(records[200:240]),
        }
    )
    source, out = {"id": "a", "hub": "someone/seeds"}, tmp_path / "out"
    for config, fault in ((None, "has several configs"), ("red", "has no config 'red'")):
        recipe = write_recipe(source | ({"config": config} if config else {}))
        done = here("build", "--recipe", recipe, "--out", str(out))
        assert done.returncode == 2
        assert done.stderr == (
            f"error: hub dataset someone/seeds: {fault}; name one of even, odd in the recipe: "
            "source a, config: NAME\n"
        )
    done = here("build", "--recipe", write_recipe(source | {"config": "odd"}), "--out", str(out))
    assert done.returncode == 0, done.stderr
    manifest = wm_data.read(out).manifest
    assert manifest.sources[0].rows_read == 40
    assert manifest.recipe["sources"][0]["config"] == "odd"


@pytest.mark.slow  # the hub's client tries for 27 seconds
def test_another_commit_in_the_cache_is_not_taken_for_the_one_that_was_asked_for(
    hub, records, write_recipe, tmp_path
):
    """The hub tells its newest commit and then fails: `datasets` falls back to what it has."""
    name = "data/train-00000-of-00001.parquet"
    old = hub.seeds.give({name: parquet(records[:200])}).oid
    recipe = write_recipe({"id": "a", "hub": "someone/seeds", "role": "both"})
    done = hub.run("build", "--recipe", recipe, "--out", str(tmp_path / "first"))
    assert done.returncode == 0, done.stderr
    new = hub.seeds.give({name: parquet(records[200:])}).oid
    hub.faults.append(hub.Fault(f".*{new}", "status", times=1_000, status=500))
    done = hub.run("build", "--recipe", recipe, "--out", str(tmp_path / "second"))
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert f"commit {new} could not be fetched" in last
    assert old in last
    assert not (tmp_path / "second").exists()


def test_other_split_names_are_named_and_can_be_mapped(hub, here, records, write_recipe, tmp_path):
    """What a user sees who does not know the splits: what there is, and then two ways to map it."""
    hub.seeds.give({"data/even-00000-of-00001.parquet": parquet(records[:150])})
    hub.seeds.give({"data/odd-00000-of-00001.parquet": parquet(records[150:200])})
    newest = hub.seeds.give({"data/rest-00000-of-00001.parquet": parquet(records[200:])})
    hub.seeds.tags["v1"] = newest.oid
    sources = [
        {"id": "a", "hub": "someone/seeds", "role": "train"},
        {"id": "b", "hub": "someone/seeds", "role": "heldout"},
    ]
    out = tmp_path / "out"

    def build(run, *options):
        recipe = write_recipe(*sources)
        return run("build", "--recipe", recipe, "--out", str(out), "--overwrite", *options)

    done = build(hub.run)
    assert done.returncode == 2
    assert done.stderr == (
        "error: hub dataset someone/seeds: has no split train or training; it has even, odd, rest; "
        "name those to read, in the recipe (source a, splits: [...]) or in the command: "
        "--source.a someone/seeds:SPLIT,SPLIT\n"
    )
    assert not out.exists()
    places = ("--source.a", "someone/seeds@v1:even,odd", "--source.b", "someone/seeds:rest")
    done = build(here, *places)
    assert done.returncode == 0, done.stderr
    by_command = wm_data.read(out)
    assert by_command.manifest.recipe["sources"][0]["splits"] == ["even", "odd"]
    assert {row.prompt for row in by_command.rows("test")} == {r["prompt"] for r in records[200:]}
    read = {source.id: source.rows_read for source in by_command.manifest.sources}
    assert read == {"a": 200, "b": 100}
    sources[0]["splits"], sources[1]["splits"] = ["odd", "even"], ["rest"]
    done = build(here)
    assert done.returncode == 0, done.stderr
    by_recipe = wm_data.read(out)
    for split in by_recipe.manifest.splits:
        assert {row.row_id for row in by_recipe.rows(split)} == {
            row.row_id for row in by_command.rows(split)
        }


@pytest.mark.parametrize(
    ("role", "splits", "found", "chosen"),
    [
        ("train", None, ["train", "test"], ["train"]),
        ("heldout", None, ["train", "test"], ["test"]),
        ("heldout", None, ["train", "validation"], ["validation"]),
        ("both", None, ["train", "test"], ["train", "test"]),
        ("train", None, ["default"], ["default"]),
        ("heldout", None, ["train"], ["train"]),
        ("train", ["odd"], ["odd", "even"], ["odd"]),
    ],
)
def test_splits_are_found_by_role(role, splits, found, chosen):
    source = Source(id="s", hub="someone/seeds", role=role, splits=splits)
    assert choose_splits(source, found) == chosen


@pytest.mark.parametrize(
    ("role", "splits", "wanted"),
    [
        ("train", None, "train or training"),
        ("heldout", None, "heldout or held_out or holdout or test or eval or validation"),
        ("both", ["c"], "c"),
    ],
)
def test_a_split_that_is_not_there_says_which_are(role, splits, wanted):
    source = Source(id="s", hub="someone/seeds", role=role, splits=splits)
    expected = rf"has no split {wanted}; it has a, b; .*source s, splits"
    with pytest.raises(wm_data.WmDataError, match=expected):
        choose_splits(source, ["a", "b"])
