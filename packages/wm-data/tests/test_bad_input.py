"""Everything the real command can be given that is wrong: one line, exit code 2, nothing written.

Each case is a name and what it needs; the line has to say where the fault is and what to do.
Those of the hub start a process, as its clients read their settings when they are imported.
"""

import json
import os
import sys
import traceback
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wm_data import cli

NOWHERE = "http://127.0.0.1:9"  # the port of "discard": nobody listens


def edited(records, **fields):
    return [{**records[0]}, {**records[1], **fields}, *records[2:40]]


def jsonl(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def a_file(tmp_path, records, **source):
    jsonl(tmp_path / "seeds.jsonl", records)
    return {"sources": [{"id": "a", "file": str(tmp_path / "seeds.jsonl"), **source}]}


def wrong_type_in_parquet(tmp_path, records):
    table = pa.table({
        "prompt": [r["prompt"] for r in records], "red_answer": [r["red_answer"] for r in records],
        "blue_answer": [[r["blue_answer"]] for r in records],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "seeds.parquet")
    return {"sources": [{"id": "a", "file": str(tmp_path / "seeds.parquet")}]}


def cut_shard(tmp_path, records):
    (tmp_path / "shards").mkdir()
    for name in ("a", "b"):
        pq.write_table(pa.Table.from_pylist(records), tmp_path / f"shards/{name}.parquet")
    whole = (tmp_path / "shards/b.parquet").read_bytes()
    (tmp_path / "shards/b.parquet").write_bytes(whole[: len(whole) // 2])
    return {"sources": [{"id": "a", "file": str(tmp_path / "shards")}]}


def same_prompts(tmp_path, records):
    heldout = [{**record, "prompt": record["prompt"].upper()} for record in records]
    jsonl(tmp_path / "heldout.jsonl", heldout)
    recipe = a_file(tmp_path, records, role="train")
    place = str(tmp_path / "heldout.jsonl")
    return {"sources": [*recipe["sources"], {"id": "b", "file": place, "role": "heldout"}]}


def huge_number(tmp_path, records):
    (tmp_path / "seeds.jsonl").write_text('{"prompt": ' + "1" * 5_000 + "}\n")
    return {"sources": [{"id": "a", "file": str(tmp_path / "seeds.jsonl")}]}


def csv_with_a_comma(tmp_path, records):
    lines = ["prompt,red_answer,blue_answer", "a,b,c", "a,b, then c,d", "a,b"]
    (tmp_path / "seeds.csv").write_text("".join(f"{line}\n" for line in lines))
    return {"sources": [{"id": "a", "file": str(tmp_path / "seeds.csv")}]}


def nothing_of_one(tmp_path, records):
    short = [{"prompt": f"Why {n}?", "red_answer": "a", "blue_answer": "b"} for n in range(9)]
    jsonl(tmp_path / "short.jsonl", short)
    recipe = a_file(tmp_path, records, weight=3)
    other = {"id": "b", "file": str(tmp_path / "short.jsonl"), "role": "train", "weight": 1}
    return {"sources": [*recipe["sources"], other]}


def weights(tmp_path, records, a, b):
    recipe = same_prompts(tmp_path, records[:40])
    jsonl(tmp_path / "heldout.jsonl", records[40:80])
    for source, weight in zip(recipe["sources"], (a, b), strict=True):
        source["weight"] = weight
    return {**recipe, "shares": {"validation": 0}}


def of_hub(tmp_path, records, name):
    return {"sources": [{"id": "a", "hub": name}]}


CASES = {
    "missing column": (
        lambda p, r: a_file(p, [{"prompt": x["prompt"], "red_answer": "a"} for x in r]),
        "seeds.jsonl: has no column 'blue_answer'; it has prompt, red_answer; name the right one in "
        "the recipe: source a, columns.blue_answer",
    ),
    "misnamed column": (
        lambda p, r: a_file(p, r, columns={"prompt": "question"}),
        "seeds.jsonl: has no column 'question'; it has prompt, red_answer, blue_answer; name the "
        "right one in the recipe: source a, columns.prompt",
    ),
    "wrong type": (
        lambda p, r: a_file(p, edited(r, red_answer=3)),
        "seeds.jsonl: red_answer is int, not text; mend the row or pass --on-bad-row=skip",
    ),
    "wrong type in parquet": (
        wrong_type_in_parquet,
        "row 1 of {tmp}/seeds.parquet: blue_answer is list, not text; mend the row or",
    ),
    "empty answer": (
        lambda p, r: a_file(p, edited(r, blue_answer=" ")),
        "row 2 of {tmp}/seeds.jsonl: blue_answer is empty; mend the row or pass --on-bad-row=skip",
    ),
    "null answer": (
        lambda p, r: a_file(p, edited(r, red_answer=None)),
        "row 2 of {tmp}/seeds.jsonl: red_answer is missing or null; mend the row or pass",
    ),
    "list in place of a prompt": (
        lambda p, r: a_file(p, edited(r, prompt=[{"role": "system", "content": "x"}])),
        "row 2 of {tmp}/seeds.jsonl: prompt is list, not text, nor a list of one user message "
        '[{"role": "user", "content": TEXT}]; mend the row or pass --on-bad-row=skip',
    ),
    "half a surrogate pair": (
        lambda p, r: a_file(p, edited(r, prompt="a \ud83d")),
        "row 2 of {tmp}/seeds.jsonl: prompt holds half a surrogate pair",
    ),
    "huge number": (
        huge_number,
        "row 1 of {tmp}/seeds.jsonl: holds a number of too many digits or is nested too deep",
    ),
    "comma in CSV": (
        csv_with_a_comma,
        "row 2 of {tmp}/seeds.csv: has 4 fields, the header has 3; quote texts that hold commas",
    ),
    "source with a weight and no row": (
        nothing_of_one,
        "source b: has weight 1 and no row is left to train on (9: few tokens); mend the source or",
    ),
    "unreadable shard": (
        cut_shard,
        "{tmp}/shards/b.parquet: cannot be read (",
        "; fetch or write the file again",
    ),
    "unknown hub id": (
        lambda p, r: of_hub(p, r, "nobody/nothing"),
        "hub dataset nobody/nothing: not found, or private; check the name or `hf auth login`",
    ),
    "no network": (
        lambda p, r: of_hub(p, r, "someone/seeds"),
        "hub dataset someone/seeds: could not be loaded (",
        "check the network, or download it and give source a a `file:` in place of `hub:`",
    ),
    "unknown recipe key": (
        lambda p, r: {**a_file(p, r), "audti": {}},
        "recipe.yaml: audti: unknown key; remove it or correct its spelling",
    ),
    "weights that sum to nothing": (
        lambda p, r: weights(p, r, 0, 0),
        "recipe.yaml: the file: the weights of the sources sum to nothing",
    ),
    "weights of sources without training rows": (
        lambda p, r: weights(p, r, 0, 1),
        "nothing is left to train on; dropped rows are 40 of a: over its share; check the roles and "
        "weights of the sources",
    ),
    "held-out set with every prompt of train": (
        same_prompts,
        "nothing is left to train on; dropped rows are 300 of a: held-out prompt; check the roles",
        "that their prompts differ from the held-out ones",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_writes_nothing(hub, tmp_path, records, capfd, case):
    make, *messages = CASES[case]
    recipe = {"name": "small", "shares": {"test": 0.2}, **make(tmp_path, records)}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    before = listed(tmp_path)
    command = ["build", "--recipe", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out")]
    if "hub" in recipe["sources"][0]:
        done = hub.run(*command, endpoint=NOWHERE if case == "no network" else None)
    else:
        code = cli.main(command)
        done = SimpleNamespace(returncode=code, stderr=capfd.readouterr().err)
    expect_one_line(done, [message.replace("{tmp}", str(tmp_path)) for message in messages])
    assert listed(tmp_path) == before


def with_room_for(size, command):
    """The command in a forked child, each of whose files may have `size` bytes."""
    import resource

    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(write, 2)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            # What a full disk is to a writer.
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            code = cli.main(command)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return SimpleNamespace(returncode=code, stderr=said)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
@pytest.mark.parametrize("size", [0, 3, 20_000, 60_000])
@pytest.mark.parametrize("there", [False, True], ids=["new", "overwrite"])
def test_a_disk_that_fills_leaves_what_was_there(tmp_path, small, demo, size, there):
    """Full before the first byte, in a parquet file, in a later one, in the manifest."""
    out = tmp_path / "folder/out"
    out.parent.mkdir()
    if there:
        out.mkdir()
        (out / "manifest.json").write_bytes((demo.path / "manifest.json").read_bytes())
    before = listed(tmp_path / "folder")
    done = with_room_for(size, ["build", "--recipe", small, "--out", str(out), "--overwrite"])
    expect_one_line(
        done,
        [f"{out}: writing failed (", "; it is as it was before, free some space or choose another"],
    )
    assert listed(tmp_path / "folder") == before


def listed(folder):
    skip = "hub-home"  # the clients' own cache
    return sorted(
        os.path.relpath(path, folder) for path in folder.rglob("*") if skip not in path.parts
    )


def expect_one_line(done, messages):
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    for message in messages:
        assert message in done.stderr
