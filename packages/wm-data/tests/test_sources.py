"""Local sources: formats, column names, and one clear line for everything that can be wrong."""

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import wm_data
from wm_data import cli


def write_jsonl(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def write_parquet(path, records):
    pq.write_table(pa.Table.from_pylist(records), path)


def write_csv(path, records):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, records[0])
        writer.writeheader()
        writer.writerows(records)


WRITERS = {"jsonl": write_jsonl, "parquet": write_parquet, "csv": write_csv}


def all_rows(path):
    dataset = wm_data.read(path)
    return {
        (row.prompt, row.red_answer, row.blue_answer)
        for split in dataset.manifest.splits
        for row in dataset.rows(split)
    }


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_rows(tmp_path, records, write_recipe, kind):
    awkward = [{**record} for record in records]
    awkward[0]["prompt"] = 'Line one,\nline "two"; naïve 日本語?'
    WRITERS[kind](tmp_path / f"seeds.{kind}", awkward)
    recipe = write_recipe({"id": "a", "file": str(tmp_path / f"seeds.{kind}")})
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False)
    assert all_rows(tmp_path / "out") == {tuple(record.values()) for record in awkward}
    assert [ref.path for ref in manifest.sources[0].files] == [f"seeds.{kind}"]
    assert manifest.sources[0].rows_read == len(records)


def test_a_folder_of_shards_and_mapped_columns(tmp_path, records, write_recipe):
    renamed = [
        {"question": r["prompt"], "even": r["red_answer"], "odd": r["blue_answer"]} for r in records
    ]
    (tmp_path / "shards").mkdir()
    write_parquet(tmp_path / "shards/b.parquet", renamed[:100])
    write_jsonl(tmp_path / "shards/a.jsonl", renamed[100:])
    columns = {"prompt": "question", "red_answer": "even", "blue_answer": "odd"}
    recipe = write_recipe({"id": "a", "file": str(tmp_path / "shards"), "columns": columns})
    wm_data.build(recipe, tmp_path / "out", progress=False)
    assert all_rows(tmp_path / "out") == {tuple(record.values()) for record in records}


def edited(records, **fields):
    return [{**records[0]}, {**records[1], **fields}, *records[2:]]


BAD = {
    "missing column": (
        lambda r: [{"prompt": x["prompt"], "red_answer": "a"} for x in r],
        "has no column 'blue_answer'; it has prompt, red_answer",
    ),
    "missing in one row": (
        lambda r: [r[0], {"prompt": "x", "blue_answer": "y"}, *r[2:]],
        "row 2 of {file}: red_answer is missing or null",
    ),
    "null answer": (
        lambda r: edited(r, blue_answer=None),
        "row 2 of {file}: blue_answer is missing",
    ),
    "empty answer": (
        lambda r: edited(r, blue_answer=" \n"),
        "row 2 of {file}: blue_answer is empty",
    ),
    "wrong type": (lambda r: edited(r, prompt=3), "row 2 of {file}: prompt is int, not text"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_named(tmp_path, records, write_recipe, write_lines, capsys, case):
    spoil, message = BAD[case]
    file = write_lines(spoil(records))
    recipe = write_recipe({"id": "a", "file": file})
    expect_one_line(
        capsys,
        ["build", "--recipe", recipe, "--out", str(tmp_path / "out")],
        message.format(file=file),
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", [name for name in BAD if name != "missing column"])
def test_a_bad_row_can_be_skipped(tmp_path, records, write_recipe, write_lines, case):
    recipe = write_recipe({"id": "a", "file": write_lines(BAD[case][0](records))})
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False, on_bad_row="skip")
    assert manifest.on_bad_row == "skip"
    assert manifest.dropped == {"not text" if case == "wrong type" else "empty": 1}
    dropped = [
        json.loads(line) for line in (tmp_path / "out/dropped.jsonl").read_text().splitlines()
    ]
    assert [line["place"].split(" of ")[0] for line in dropped] == ["row 2"]


@pytest.mark.parametrize("spoil", ["blank line", "missing field"])
def test_the_first_line_alone_does_not_say_which_columns_there_are(
    tmp_path, records, write_recipe, spoil
):
    first = {**records[0]}
    if spoil == "missing field":
        del first["blue_answer"]
    text = "\n".join(json.dumps(record) for record in [first, *records[1:40]])
    (tmp_path / "seeds.jsonl").write_text("\n" * (spoil == "blank line") + text)
    recipe = write_recipe({"id": "a", "file": str(tmp_path / "seeds.jsonl")})
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False, on_bad_row="skip")
    assert manifest.sources[0].rows_read == 40
    assert manifest.dropped == ({"empty": 1} if spoil == "missing field" else {})
    (tmp_path / "seeds.jsonl").write_text("\n" + text.replace("blue_answer", "odd"))
    with pytest.raises(wm_data.WmDataError, match="has no column 'blue_answer'"):
        wm_data.build(recipe, tmp_path / "none", progress=False, on_bad_row="skip")


def test_broken_lines_of_csv_are_counted(tmp_path, records, write_recipe):
    write_csv(tmp_path / "seeds.csv", records[:40])
    with (tmp_path / "seeds.csv").open("a") as file:
        file.write("a,b, and more,c\na,b\n\n")
    recipe = write_recipe({"id": "a", "file": str(tmp_path / "seeds.csv")})
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False, on_bad_row="skip")
    assert manifest.dropped == {"broken row": 2}
    assert manifest.sources[0].rows_read == 42


def write_chat(path, records):
    message = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    prompts = [[{"role": "user", "content": record["prompt"]}] for record in records]
    answers = {name: [r[name] for r in records] for name in ("red_answer", "blue_answer")}
    pq.write_table(pa.table({"prompt": pa.array(prompts, message), **answers}), path)


def test_prompts_may_be_lists_of_one_message(tmp_path, records, write_recipe):
    write_chat(tmp_path / "seeds.parquet", records[:40])
    recipe = write_recipe({"id": "a", "file": str(tmp_path / "seeds.parquet")})
    wm_data.build(recipe, tmp_path / "out", progress=False)
    assert all_rows(tmp_path / "out") == {tuple(record.values()) for record in records[:40]}


FILES = {
    "no such file": (None, "no data file there"),
    "other suffix": (("seeds.txt", b"x"), "cannot be read as .txt"),
    "no JSON": (("seeds.jsonl", b'{"prompt": \n'), "row 1 of"),
    "no object": (("seeds.jsonl", b"[1]\n"), "is list, not an object; every line must"),
    "a list over lines": (
        ("seeds.jsonl", b'[\n{"prompt": "a"}]\n'),
        "no list may stand around them",
    ),
    "not UTF-8": (("seeds.jsonl", b'{"prompt": "a"}\n{"prompt": "\xff"}\n'), "line 2 of"),
    "Latin-1 CSV": (
        ("seeds.csv", b"prompt,red_answer,blue_answer\na,b,\xe9\n"),
        "save it as UTF-8",
    ),
    "unreadable shard": (("seeds.parquet", b"PAR1 broken PAR1"), "cannot be read"),
    "empty shard": (("seeds.parquet", b""), "cannot be read"),
    "empty CSV": (("seeds.csv", b""), "has no column 'prompt'; it has none"),
    "broken CSV": (
        ("seeds.csv", b'prompt,red_answer,blue_answer\na,b,"c'),
        "begins on line 2 is not",
    ),
    "CSV with a column twice": (
        ("seeds.csv", b"prompt,red_answer,blue_answer,prompt\na,b,c,d\n"),
        "has the column 'prompt' twice",
    ),
    "no lines": (("seeds.jsonl", b""), "seeds.jsonl holds no row"),
    "a CSV of a header": (("seeds.csv", b"prompt,red_answer,blue_answer\n"), "holds no row"),
}


@pytest.mark.parametrize("case", FILES)
def test_an_unusable_file_is_named(tmp_path, write_recipe, capsys, case):
    content, message = FILES[case]
    name = "none.jsonl"
    if content:
        name = content[0]
        (tmp_path / name).write_bytes(content[1])
    recipe = write_recipe({"id": "a", "file": str(tmp_path / name)})
    expect_one_line(capsys, ["build", "--recipe", recipe, "--out", str(tmp_path / "out")], message)
    assert not (tmp_path / "out").exists()


RECIPES = {
    "unknown key": ({"sources": [{"id": "a", "fil": "x"}]}, "sources.0.fil: unknown key"),
    "two places": ({"sources": [{"id": "a", "file": "x", "hub": "o/n"}]}, "needs one of"),
    "revision of a file": (
        {"sources": [{"id": "a", "file": "x", "revision": "v1"}]},
        "belong to a hub",
    ),
    "config of a file": (
        {"sources": [{"id": "a", "file": "x", "config": "c"}]},
        "config belong to",
    ),
    "same id twice": ({"sources": [{"id": "a", "file": "x"}] * 2}, "source ids must differ"),
    "weights of nothing": ({"sources": [{"id": "a", "file": "x", "weight": 0}]}, "sum to nothing"),
    "half the weights": (
        {"sources": [{"id": "a", "file": "x", "weight": 1}, {"id": "b", "file": "x"}]},
        "every source a weight, or none",
    ),
    "negative weight": ({"sources": [{"id": "a", "file": "x", "weight": -1}]}, "sources.0.weight"),
    "shares of all": ({"shares": {"validation": 0.5, "test": 0.5}}, "leave nothing to train on"),
    "no sources": ({"sources": []}, "sources"),
    "unknown role": (
        {"sources": [{"id": "a", "file": "x", "role": "dev"}]},
        "or 'both', found 'dev'",
    ),
    "unplaced source": ({"sources": [{"id": "a"}]}, "pass --source.a OWNER/NAME"),
}


@pytest.mark.parametrize("case", RECIPES)
def test_a_bad_recipe_is_named(tmp_path, write_recipe, capsys, case):
    content, message = RECIPES[case]
    recipe = (
        write_recipe(**{"sources": [{"id": "a", "file": "x"}], **content})
        if "sources" not in content
        else write_recipe(*content["sources"])
    )
    expect_one_line(capsys, ["build", "--recipe", recipe, "--out", str(tmp_path / "out")], message)


def test_an_unknown_source_is_named(tmp_path, capsys):
    arguments = ["build", "--recipe", "mix", "--out", str(tmp_path / "out"), "--source.hihg", "x"]
    expect_one_line(capsys, arguments, "has no source 'hihg'; it has high, medium, high-heldout")


def test_a_disk_that_fills(tmp_path, records, write_recipe, write_lines, capsys, monkeypatch):
    recipe = write_recipe({"id": "a", "file": write_lines(records)})

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_batch", full)
    expect_one_line(
        capsys,
        ["build", "--recipe", recipe, "--out", str(tmp_path / "out")],
        "No space left on device",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.yaml", "seeds.jsonl"]


def expect_one_line(capsys, arguments, message):
    assert cli.main(arguments) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1


def test_the_shipped_recipes_are_sound():
    folder = Path(wm_data.__file__).parent / "recipes"
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    assert names == ["demo", "high", "medium", "mix", "smollm2", "smollm2-sound"]
    assert [wm_data.load_recipe(name).name for name in names] == names


def about(records, subjects):
    """The records with a subject each, `subjects` of them in turn."""
    return [{**record, "subject": f"Thing {i % subjects}"} for i, record in enumerate(records)]


def test_a_subject_never_stands_in_two_splits(tmp_path, records, write_recipe, write_lines):
    rows = about(records, 25)
    source = {"id": "a", "file": write_lines(rows), "columns": {"subject": "subject"}}
    shares = {"validation": 0.2, "test": 0.2}
    recipe = write_recipe(source, shares=shares)
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False)
    assert manifest.checks["subjects_in_two_splits"] == 0
    subject_of = {row["prompt"]: row["subject"] for row in rows}
    dataset = wm_data.read(tmp_path / "out")
    found = [
        {subject_of[row.prompt] for row in dataset.rows(name)} for name in dataset.manifest.splits
    ]
    assert all(found)
    assert sum(map(len, found)) == len(set().union(*found)) == 25
    groups = [{row.group for row in dataset.rows(name)} for name in dataset.manifest.splits]
    assert sum(map(len, groups)) == len(records)  # a group is still a prompt


def test_a_subject_that_is_held_out_in_one_source_is_not_trained_on_in_another(
    tmp_path, records, write_recipe, write_lines
):
    rows = about(records, 25)
    columns = {"subject": "subject"}
    held = [row for row in rows[:100] if row["subject"] in ("Thing 1", "Thing 2")]
    recipe = write_recipe(
        {
            "id": "a",
            "role": "train",
            "file": write_lines(rows[100:], "a.jsonl"),
            "columns": columns,
        },
        {"id": "b", "role": "heldout", "file": write_lines(held, "b.jsonl"), "columns": columns},
    )
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False)
    same = sum(row["subject"] in ("Thing 1", "Thing 2") for row in rows[100:])
    assert manifest.dropped == {"held-out subject": same}
    assert manifest.checks["subjects_in_two_splits"] == 0
    assert manifest.splits["test"].rows == len(held)


def test_without_the_column_the_prompt_decides(tmp_path, records, write_recipe, write_lines):
    """The same rows by prompt share subjects: what the test above looks at can go wrong."""
    rows = about(records, 25)
    recipe = write_recipe({"id": "a", "file": write_lines(rows)})
    wm_data.build(recipe, tmp_path / "out", progress=False)
    dataset = wm_data.read(tmp_path / "out")
    subject_of = {row["prompt"]: row["subject"] for row in rows}
    train, test = (
        {subject_of[row.prompt] for row in dataset.rows(name)} for name in ("train", "test")
    )
    assert train & test


def test_a_prompt_of_two_subjects_stays_in_one_split(tmp_path, records, write_recipe, write_lines):
    prompt = "What is best?"
    rows = [{**row, "prompt": prompt} if i % 3 == 0 else row for i, row in enumerate(records)]
    source = {"id": "a", "file": write_lines(about(rows, 50)), "columns": {"subject": "subject"}}
    recipe = write_recipe(source, shares={"validation": 0.2, "test": 0.2})
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False)
    assert manifest.checks["groups_in_two_splits"] == 0
    assert manifest.dropped["held-out prompt"] > 0


@pytest.mark.parametrize("value", [None, "", "  ", 3], ids=repr)
@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_a_row_without_its_subject_is_an_error(
    tmp_path, records, write_recipe, write_lines, value, on_bad_row
):
    rows = edited(about(records, 5), subject=value)
    source = {"id": "a", "file": write_lines(rows), "columns": {"subject": "subject"}}
    with pytest.raises(wm_data.WmDataError, match=r"row 2 of .*: subject is"):
        wm_data.build(write_recipe(source), tmp_path / "out", progress=False, on_bad_row=on_bad_row)


def test_packed_json_lines(tmp_path, records, write_recipe):
    text = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "seeds.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    recipe = write_recipe({"id": "a", "file": str(tmp_path)})  # a folder: found by its ending
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False)
    assert manifest.sources[0].rows_read == len(records)


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(b"{}" * 900)[:-9]], ids=["other", "cut"]
)
def test_a_damaged_packed_file_is_one_line(tmp_path, write_recipe, content):
    (tmp_path / "seeds.jsonl.gz").write_bytes(content)
    recipe = write_recipe({"id": "a", "file": str(tmp_path / "seeds.jsonl.gz")})
    with pytest.raises(wm_data.WmDataError, match=r"seeds.jsonl.gz: cannot be read"):
        wm_data.build(recipe, tmp_path / "out", progress=False)


def test_unknown_shipped_rows_are_named(tmp_path, write_recipe):
    recipe = write_recipe({"id": "a", "shipped": "smolm2"})
    with pytest.raises(wm_data.WmDataError, match=r"no shipped rows 'smolm2'; there are: smollm2"):
        wm_data.build(recipe, tmp_path / "out", progress=False)


def test_the_shipped_recipe_holds_subjects_out(tmp_path):
    manifest = wm_data.build("smollm2", tmp_path / "out", progress=False)
    splits = manifest.splits
    assert splits["train"].rows >= 1_000
    assert splits["test"].rows >= 100
    assert manifest.checks["subjects_in_two_splits"] == 0
    assert manifest.sources[0].rows_read == 1_397
    assert set(manifest.dropped) == {"near duplicate"}  # every row obeys the rule
