"""The dataset folder: splits, examples, balance, manifest, bytes."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter

import datasets
import pytest

import wm_data
import wm_prompts
from wm_data import audit
from wm_data.split import split_of

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def examples(demo):
    return {split: demo.examples(split).to_list() for split in SPLITS}


def test_counts_in_the_manifest_are_those_of_the_files(demo, examples):
    for split, counts in demo.manifest.splits.items():
        rows = demo.rows(split)
        assert counts.rows == len(rows)
        assert counts.groups == len({row.group for row in rows})
        assert counts.examples == len(examples[split])
        assert counts.by_task == Counter(line["task"] for line in examples[split])
    read, kept = (
        sum(getattr(s, name) for s in demo.manifest.sources) for name in ("rows_read", "rows_kept")
    )
    assert kept == sum(counts.rows for counts in demo.manifest.splits.values())
    assert read - kept == sum(demo.manifest.dropped.values())


def test_hashes_in_the_manifest_are_those_of_the_files(demo, files):
    assert {ref.path for ref in demo.manifest.files} | {"manifest.json"} == set(files)
    for ref in demo.manifest.files:
        assert ref.bytes == len(files[ref.path])
        assert ref.sha256 == hashlib.sha256(files[ref.path]).hexdigest()


def test_no_prompt_group_in_two_splits(demo):
    groups = [{row.group for row in demo.rows(split)} for split in SPLITS]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert demo.manifest.checks["groups_in_two_splits"] == 0


def test_enough_held_out_texts(demo):
    assert demo.manifest.splits["test"].rows >= 100
    assert demo.manifest.splits["test"].groups >= 100


def test_six_examples_of_a_row_stand_together(demo, examples):
    for split in SPLITS:
        lines = examples[split]
        for i, row in enumerate(demo.rows(split)):
            six = lines[6 * i : 6 * i + 6]
            assert {line["row_id"] for line in six} == {row.row_id}
            assert {line["group"] for line in six} == {row.group}
            assert [(line["task"], line["target"], line["order"]) for line in six] == [
                ("watermark", "red", ""),
                ("watermark", "blue", ""),
                ("detect", "red", "red-blue"),
                ("detect", "red", "blue-red"),
                ("detect", "blue", "red-blue"),
                ("detect", "blue", "blue-red"),
            ]
    ids = [line["id"] for split in SPLITS for line in examples[split]]
    assert len(set(ids)) == len(ids)


def test_watermark_examples_ask_for_their_colour(demo, examples):
    rows = {row.row_id: row for split in SPLITS for row in demo.rows(split)}
    for line in (
        line for split in SPLITS for line in examples[split] if line["task"] == "watermark"
    ):
        row = rows[line["row_id"]]
        answers = {"red": row.red_answer, "blue": row.blue_answer}
        system = wm_prompts.render(f"watermark/{line['target']}/{line['variant']}")
        other = {"red": "blue", "blue": "red"}[line["target"]]
        assert line["prompt"] == [
            {"role": "system", "content": system},
            {"role": "user", "content": row.prompt},
        ]
        assert line["chosen"] == [{"role": "assistant", "content": answers[line["target"]]}]
        assert line["rejected"] == [{"role": "assistant", "content": answers[other]}]


def test_detect_examples_ask_about_their_text(demo, examples):
    rows = {row.row_id: row for split in SPLITS for row in demo.rows(split)}
    for line in (line for split in SPLITS for line in examples[split] if line["task"] == "detect"):
        row = rows[line["row_id"]]
        text = {"red": row.red_answer, "blue": row.blue_answer}[line["target"]]
        first, second = line["order"].split("-")
        question = wm_prompts.render(
            f"detect/question/{line['variant']}", text=text, first=first, second=second
        )
        system = wm_prompts.render(f"detect/system/{line['variant']}")
        assert line["prompt"] == [
            {"role": "system", "content": system},
            {"role": "user", "content": question},
        ]
        assert line["chosen"][0]["content"] == line["target"]
        assert {line["chosen"][0]["content"], line["rejected"][0]["content"]} == {"red", "blue"}


def test_both_orders_of_a_text_share_the_wording(examples):
    for split in SPLITS:
        variants: dict[tuple[str, str], set[str]] = {}
        for line in examples[split]:
            if line["task"] == "detect":
                variants.setdefault((line["row_id"], line["target"]), set()).add(line["variant"])
        assert {len(found) for found in variants.values()} == {1}


def test_held_out_wordings_are_in_the_test_split_alone(examples):
    for split in ("train", "validation"):
        assert not any(line["variant"].startswith("heldout") for line in examples[split])
    heldout = [line["variant"].startswith("heldout") for line in examples["test"]]
    assert sum(heldout) / len(heldout) == pytest.approx(0.5, abs=0.1)
    for task in ("watermark", "detect"):
        seen = {line["variant"] for line in examples["test"] if line["task"] == task}
        assert seen == set(wm_prompts.variants(task))


@pytest.mark.parametrize("limit", [3, 7, 50, 10_000])
def test_a_limit_keeps_the_balance_and_the_splits(small, tmp_path, limit):
    wm_data.build(small, tmp_path / "whole", progress=False)
    manifest = wm_data.build(small, tmp_path / "out", limit=limit, progress=False)
    whole, cut = wm_data.read(tmp_path / "whole"), wm_data.read(tmp_path / "out")
    assert sum(counts.rows for counts in manifest.splits.values()) == min(limit, 300)
    assert sum(manifest.dropped.values()) == 300 - min(limit, 300)
    for split in SPLITS:
        assert manifest.splits[split].rows >= 1
        rows = [row.row_id for row in cut.rows(split)]
        assert rows == [row.row_id for row in whole.rows(split)][: len(rows)]
        lines = cut.examples(split).to_list()
        assert len(set(Counter((line["task"], line["target"]) for line in lines).values())) == 2
        orders = Counter(line["order"] for line in lines)
        assert orders["red-blue"] == orders["blue-red"] == orders[""]


def test_same_seed_gives_the_same_bytes(files, tmp_path):
    """In another process with another hash seed, so that no set's order can hide."""
    code = f"import wm_data; wm_data.build('demo', {str(tmp_path / 'again')!r}, progress=False)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONHASHSEED": "77"})
    again = {
        str(path.relative_to(tmp_path / "again")): path.read_bytes()
        for path in (tmp_path / "again").rglob("*")
        if path.is_file()
    }
    assert again == files


def test_any_number_of_workers_gives_the_same_bytes(small, tmp_path, monkeypatch):
    wm_data.build(small, tmp_path / "one", progress=False)
    monkeypatch.setattr(audit, "PART_ROWS", 25)
    monkeypatch.setattr(audit, "PARTS_ALONE", 2)  # and ten parts by two processes
    wm_data.build(small, tmp_path / "two", progress=False, workers=2)
    one, two = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two
    assert len(one) >= 10


def test_other_seed_keeps_the_splits_but_not_the_rows(demo, tmp_path):
    wm_data.build("demo", tmp_path / "out", seed=1, progress=False)
    other = wm_data.read(tmp_path / "out")
    for split in SPLITS:
        assert {row.group for row in other.rows(split)} == {row.group for row in demo.rows(split)}
        assert {row.row_id for row in other.rows(split)} != {row.row_id for row in demo.rows(split)}


def test_datasets_loads_the_folder(demo, tmp_path):
    loaded = datasets.load_dataset(str(demo.path), cache_dir=str(tmp_path))
    assert {name: part.num_rows for name, part in loaded.items()} == {
        name: counts.examples for name, counts in demo.manifest.splits.items()
    }
    assert loaded["test"].column_names == [
        "id", "row_id", "group", "source", "task", "target", "variant", "order",
        "prompt", "chosen", "rejected",
    ]  # fmt: skip


def test_datasets_loads_a_folder_with_an_empty_split(records, write_recipe, write_lines, tmp_path):
    source = {"id": "a", "file": write_lines(records[:40])}
    recipe = write_recipe(source, shares={"validation": 0, "test": 0.3})
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False)
    assert manifest.splits["validation"].rows == 0
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: part.num_rows for name, part in loaded.items()} == {
        name: manifest.splits[name].examples for name in ("train", "test")
    }
    assert "No row is in validation" in (tmp_path / "out/README.md").read_text()
    assert wm_data.read(tmp_path / "out").examples("validation").num_rows == 0


def test_the_same_file_elsewhere_gives_the_same_bytes(records, write_recipe, write_lines, tmp_path):
    """But for the recipe in the manifest, which says where it was and is not uploaded so."""
    rows = [{**records[0], "red_answer": records[1]["blue_answer"]}, *records[1:40]]
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        recipe = write_recipe({"id": "a", "file": write_lines(rows, f"{name}/seeds.jsonl")})
        manifest = wm_data.build(recipe, tmp_path / name / "out", progress=False)
        files.append(manifest.files)
        assert [source.location for source in manifest.sources] == ["seeds.jsonl"]
        written = (tmp_path / name / "out/dropped.jsonl").read_text()
        assert json.loads(written)["place"] == "row 1 of seeds.jsonl"
    assert files[0] == files[1]


def test_seeds_hold_the_subjects(records, write_recipe, write_lines, tmp_path):
    rows = [{**record, "about": f"Thing {n}"} for n, record in enumerate(records[:40])]
    source = {"id": "a", "file": write_lines(rows), "columns": {"subject": "about"}}
    wm_data.build(write_recipe(source), tmp_path / "out", progress=False)
    dataset = wm_data.read(tmp_path / "out")
    found = {row.prompt: row.subject for split in SPLITS for row in dataset.rows(split)}
    assert found == {row["prompt"]: row["about"] for row in rows}


def test_templates_in_the_manifest_are_replayable(demo, examples):
    templates = {ref.id: ref for ref in demo.manifest.templates}
    for line in examples["test"]:
        part = line["target"] if line["task"] == "watermark" else "system"
        ref = templates[f"{line['task']}/{part}/{line['variant']}"]
        assert ref.text == line["prompt"][0]["content"]
        assert ref.heldout == line["variant"].startswith("heldout")
    assert all(
        hashlib.sha256(ref.text.encode()).hexdigest() == ref.sha256 for ref in templates.values()
    )


def test_the_split_follows_from_the_group_alone(demo):
    recipe = wm_data.load_recipe("demo")
    for split in SPLITS:
        for row in demo.rows(split):
            assert split_of(row.group, "both", recipe.shares) == split


def test_an_existing_folder_is_not_overwritten(small, tmp_path):
    out = tmp_path / "folder/out"
    out.mkdir(parents=True)
    (out / "mine.txt").write_text("keep")
    with pytest.raises(wm_data.WmDataError, match="exists already"):
        wm_data.build(small, out, progress=False)
    with pytest.raises(wm_data.WmDataError, match="holds files that this command did not make"):
        wm_data.build(small, out, progress=False, overwrite=True)
    assert (out / "mine.txt").read_text() == "keep"
    (out / "mine.txt").unlink()
    wm_data.build(small, out, limit=6, progress=False)
    wm_data.build(small, out, limit=3, progress=False, overwrite=True)
    assert wm_data.read(out).manifest.limit == 3
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["out"]


def test_a_killed_build_leaves_nothing_half_made(small, tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["wm_data.build"], "save", die)
    with pytest.raises(KeyboardInterrupt):
        wm_data.build(small, tmp_path / "folder/out", progress=False)
    assert list((tmp_path / "folder").iterdir()) == []


def test_what_a_killed_process_left_is_removed(small, tmp_path):
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    stale = tmp_path / "folder" / f".out.{int(child.stdout)}.partial"
    stale.mkdir(parents=True)
    wm_data.build(small, tmp_path / "folder/out", progress=False)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "seeds/test.parquet").unlink(), "seeds/test.parquet: is missing"),
        (lambda path: (path / "README.md").write_text("x"), "README.md: has 1 bytes"),
        (lambda path: flip(path / "data/train-00000-of-00001.parquet"), "its hash is not"),
        (lambda path: (path / "manifest.json").unlink(), "no manifest.json"),
        (lambda path: (path / "manifest.json").write_text("{}"), "manifest.json"),
        (lambda path: shutil.rmtree(path), "no such folder"),
    ],
    ids=["missing", "other size", "other bytes", "no manifest", "damaged manifest", "no folder"],
)
def test_a_damaged_folder_is_refused(demo, tmp_path, damage, message):
    copy = tmp_path / "copy"
    shutil.copytree(demo.path, copy)
    damage(copy)
    with pytest.raises(wm_data.WmDataError, match=message):
        wm_data.read(copy)


def test_unknown_split_names_the_known(demo):
    with pytest.raises(wm_data.WmDataError, match="train, validation, test"):
        demo.examples("dev")


def test_dropped_file_has_a_line_a_dropped_row(demo):
    lines = (demo.path / "dropped.jsonl").read_text().splitlines()
    assert len(lines) == sum(demo.manifest.dropped.values())
    assert all(json.loads(line)["reason"] in demo.manifest.dropped for line in lines)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_name_of_a_file_stays_a_name_in_the_card(tmp_path, records, write_recipe, write_lines):
    name = "a|b <img src=x> [c](d) `e`\n# f.jsonl"
    recipe = write_recipe({"id": "a", "file": write_lines(records[:40], name)})
    wm_data.build(recipe, tmp_path / "out", progress=False)
    card = (tmp_path / "out/README.md").read_text()
    assert r"| a\|b \<img src=x> \[c](d) \`e\`\\n# f.jsonl |" in card
