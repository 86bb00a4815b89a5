"""The audit page: what it counts, and how lengths are compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wm_data import cli
from wm_data.separation import auc, best_accuracy

VALUES = st.lists(st.integers(0, 6), min_size=1, max_size=12)


@given(VALUES, VALUES)
def test_auc_is_the_share_of_pairs(red, blue):
    pairs = [(a > b) + (a == b) / 2 for a in red for b in blue]
    assert auc(red, blue) == pytest.approx(sum(pairs) / len(pairs))


@given(VALUES, VALUES)
def test_best_accuracy_is_that_of_the_best_threshold(red, blue):
    def right(cut):
        low = sum(value <= cut for value in red) + sum(value > cut for value in blue)
        return max(low, len(red) + len(blue) - low)

    assert best_accuracy(red, blue) * (len(red) + len(blue)) == pytest.approx(
        max(map(right, range(-1, 8)))
    )


def test_audit_writes_a_page_with_pictures(tmp_path, records, write_lines, capsys):
    bad = {**records[0], "blue_answer": records[1]["red_answer"]}
    source = write_lines([bad, {**records[2], "prompt": ""}, *records[3:]])
    assert cli.main(["audit", source, "--out", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page/audit.html").read_text()
    assert "blue answer is not blue" in page
    assert f"{len(records) - 1:,} rows read, {len(records) - 3:,} sound, 2 to be dropped" in page
    for name in ("shares.png", "lengths.png"):
        assert f'src="{name}"' in page
        assert (tmp_path / "page" / name).read_bytes().startswith(b"\x89PNG")
    assert "sound" in capsys.readouterr().out


def test_audit_escapes_names(tmp_path, records, write_lines):
    source = write_lines(records[:5], "<b>.jsonl")
    assert cli.main(["audit", source, "--out", str(tmp_path / "page")]) == 0
    assert "<b>" not in (tmp_path / "page/audit.html").read_text()


@pytest.mark.parametrize("source", ["nonsense", "{tmp}/none.yaml", "{tmp}/none.jsonl"])
def test_audit_of_nothing_is_one_line(tmp_path, capsys, source):
    code = cli.main(
        ["audit", source.replace("{tmp}", str(tmp_path)), "--out", str(tmp_path / "page")]
    )
    printed = capsys.readouterr().err
    assert code == 2
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert not (tmp_path / "page").exists()
