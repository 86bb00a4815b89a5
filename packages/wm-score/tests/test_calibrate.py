"""Nulls of one's own: what `calibrate` writes is read again, and what makes no null is refused."""

from __future__ import annotations

import json
import random

import pytest

import wm_score
from wm_score import cli, fitting, null_file, proof
from wm_score.null import distinct

WORDS = "the a plan price winter of and to in committee report house green old read by night"


def prose(rng: random.Random, counted: int) -> str:
    return " ".join(rng.choices(WORDS.split(), k=counted))


@pytest.fixture
def calibrate(tmp_path, capsys):
    """Runs `calibrate` on texts; gives status, standard error and the file."""

    def run(texts, *arguments: str):
        rows = tmp_path / "rows.jsonl"
        rows.write_text("".join(json.dumps({"t": t}) + "\n" for t in texts), encoding="ascii")
        out = tmp_path / "null.json"
        status = cli.main(
            ["calibrate", str(rows), "--jsonl", "t", "--out", str(out), *map(str, arguments)]
        )
        return status, capsys.readouterr().err, out

    return run


LENGTHS = {
    "short, all alike": (100, 17, 18),
    "short": (200, 16, 40),
    "of many lengths": (150, 12, 700),
    "as few as may be": (30, 300, 400),
}


@pytest.mark.parametrize(("n", "low", "high"), LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("seed", range(3))
def test_a_null_that_is_written_is_read_again(calibrate, n, low, high, seed):
    rng = random.Random(seed)
    status, _, out = calibrate([prose(rng, rng.randrange(low, high)) for _ in range(n)])
    assert status == 0
    null = wm_score.load_null(str(out))
    for length in (8, 40, 300, 3000):
        found = wm_score.evidence(prose(rng, length), null)
        assert 0 < found.red_p <= 1
        assert 0 < found.blue_p <= 1


def test_a_dispersion_that_falls_below_zero_out_of_reach_is_read_again(tmp_path):
    """As short documents give it: at 64 ids, which none of them has, the line is below zero."""
    record = json.loads(null_file.shipped()["code"].to_json())
    record |= {"name": "own", "reach": [12, 24], "dispersion": [-0.2, -0.5]}
    path = tmp_path / "null.json"
    path.write_text(json.dumps(record), encoding="ascii")
    assert 0 < wm_score.load_null(str(path)).p(20, 10)[0] <= 1


REFUSED = {
    "one digit again and again": (["7 " * n for n in range(40, 140)], "both parities"),
    "too few documents": (
        [prose(random.Random(n), 900) for n in range(29)],
        "29 documents of at least 12 counted tokens make",
    ),
    "one long document": ([prose(random.Random(1), 20_000)], "needs 30 documents and 99 pieces"),
    "copies of one": ([prose(random.Random(1), 900)] * 40, "needs 30 documents and 99 pieces"),
    "too few pieces": ([prose(random.Random(n), 20) for n in range(50)], "50 documents"),
    "documents too short": (
        [prose(random.Random(n), 13) for n in range(200)],
        "the 200 documents are too short",
    ),
    "nothing": ([], "0 documents"),
}


@pytest.mark.parametrize(("texts", "message"), REFUSED.values(), ids=REFUSED)
def test_documents_that_make_no_null_are_refused_in_one_line(calibrate, texts, message):
    status, err, out = calibrate(texts)
    assert status == 2
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not out.exists()


def test_copies_are_left_out_and_said(calibrate):
    texts = [prose(random.Random(n), 200) for n in range(120)]
    status, err, out = calibrate([*texts, *texts[:7], "too short"])
    assert status == 0
    assert "7 documents are copies of others and were left out" in err
    assert "1 documents of fewer than 12 counted tokens were left out" in err
    once = wm_score.fit_null(texts, "own")
    assert wm_score.load_null(str(out)) == once == wm_score.fit_null([*texts, *texts[:7]], "own")


def test_few_documents_support_no_low_p_and_it_is_said(calibrate):
    status, err, out = calibrate([prose(random.Random(n), 900) for n in range(40)])
    assert status == 0
    assert "40 documents" in err
    assert "lowest p 0.0244" in err
    assert "warning: with 40 documents no p reaches 0.01; 99 or more do" in err
    null = wm_score.load_null(str(out))
    assert null.pieces > 400
    found = proof.evidence_of(range(2000, 4000, 2), null)
    assert found.red_p == proof.lowest_p(null) == 1 / 41


def test_pieces_of_few_documents_give_no_low_p():
    """Each document leans its own way, which the many pieces of a few documents do not show."""
    rng = random.Random(7)

    def document(length: int) -> list[int]:
        share = rng.betavariate(20, 20)
        return [2 * i + (rng.random() >= share) for i in rng.sample(range(60_000), length)]

    with pytest.raises(wm_score.InputError, match="needs 30 documents"):
        fitting.fit([document(1500) for _ in range(10)], "few", "")
    null = fitting.fit([document(1500) for _ in range(40)], "own", "")
    assert null.pieces > 800
    ps = [null.p(*distinct(document(100)))[0] for _ in range(500)]
    assert min(ps) >= null.lowest == 1 / 41


@pytest.mark.parametrize("link", [False, True])
def test_a_document_is_never_written_over(tmp_path, capsys, link):
    paths = [tmp_path / f"{n}.txt" for n in range(40)]
    for n, path in enumerate(paths):
        path.write_text(prose(random.Random(n), 300), encoding="ascii")
    before = [path.read_bytes() for path in paths]
    out = paths[3]
    if link:
        out = tmp_path / "null.json"
        out.symlink_to(paths[3])
    assert cli.main(["calibrate", *map(str, paths), "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith(f"error: --out {out} is the input {paths[3]}; ")
    assert [path.read_bytes() for path in paths] == before


@pytest.mark.parametrize("name", ["default", "news_en"])
def test_a_shipped_name_is_refused(calibrate, tmp_path, name):
    texts = [prose(random.Random(n), 200) for n in range(120)]
    status, err, out = calibrate(texts, "--name", name)
    assert (status, out.exists()) == (2, False)
    assert f"null name '{name}' is that of a shipped null" in err
    with pytest.raises(wm_score.InputError, match="shipped null"):
        wm_score.fit_null(texts, name)
    path = tmp_path / "other.json"
    path.write_text(
        json.dumps(json.loads(null_file.shipped()["code"].to_json()) | {"name": name}),
        encoding="ascii",
    )
    with pytest.raises(wm_score.InputError, match=r"other\.json: its name .* is that of a shipped"):
        wm_score.load_null(str(path))


BROKEN = {
    "an empty list": {"share": []},
    "a list of one": {"dispersion": [1.0]},
    "no list": {"reach": 5},
    "an object": {"share": {"a": 1}},
    "no tails": {"red": [], "blue": []},
    "tails that are text": {"red": "x" * 200},
    "a number beyond all": {"reach": [1, 10**400]},
    "a line that leaves every number": {"dispersion": [1.0, 1e308]},
    "no document": {"documents": 0},
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_broken_null_file_is_refused_in_one_line(tmp_path, capsys, change):
    record = json.loads(null_file.shipped()["code"].to_json()) | {"name": "own"} | change
    path = tmp_path / "null.json"
    path.write_text(json.dumps(record), encoding="ascii")
    assert cli.main(["--null", str(path), str(path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: null {path}: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b'{"format": ' * 50_000])
def test_a_file_that_is_no_json_is_refused_in_one_line(tmp_path, capsys, content):
    path = tmp_path / "null.json"
    path.write_bytes(content)
    assert cli.main(["--null", str(path), str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
