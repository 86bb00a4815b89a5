"""The audit page: what it counts, and how lengths are compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wm_score
from wm_data import cli
from wm_data.audit import audit
from wm_data.recipe import AuditRules
from wm_data.report import NullFigures, null_figures
from wm_data.rows import Row
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
    assert "Against unmarked text" in page
    for name in ("shares.png", "lengths.png"):
        assert f'src="{name}"' in page
        assert (tmp_path / "page" / name).read_bytes().startswith(b"\x89PNG")
    assert "sound" in capsys.readouterr().out


def test_figures_against_unmarked_text(records):
    rows = [Row("x", **record) for record in records]
    judged = list(audit(rows, AuditRules()))
    kept = [item for item in judged if item.kept]
    red = [wm_score.evidence(item.row.red_answer) for item in kept]
    blue = [wm_score.evidence(item.row.blue_answer) for item in kept]
    more = [(r.blue_p - r.red_p, b.blue_p - b.red_p) for r in red for b in blue]
    found = null_figures(judged)
    assert found.rows == len(kept) > 20
    assert found.chance == pytest.approx(sum((r > b) + (r == b) / 2 for r, b in more) / len(more))
    assert found.chance > 0.9, "the rows are marked"
    assert found.red == pytest.approx(sum(r.red_p <= 0.01 for r in red) / len(red))
    assert found.blue == pytest.approx(sum(b.blue_p <= 0.01 for b in blue) / len(blue))


def test_figures_against_unmarked_text_of_many_rows_are_of_some(records, monkeypatch):
    monkeypatch.setattr("wm_data.report.EVIDENCE_ROWS", 10)
    rows = [Row("x", **record) for record in records]
    assert 5 <= null_figures(list(audit(rows, AuditRules()))).rows <= 10


def test_of_no_row_there_are_no_figures():
    assert null_figures([]) == NullFigures(rows=0, chance=0.5, right=0.5, red=0.0, blue=0.0)


def test_a_folder_that_is_not_replaced_is_told_before_the_rows_are_judged(
    tmp_path, records, write_lines, capsys, monkeypatch
):
    (tmp_path / "page").mkdir()
    (tmp_path / "page/mine.txt").write_text("x")
    monkeypatch.setattr("wm_data.audit.audit", lambda *_: pytest.fail("judged"))
    source = write_lines(records[:5])
    assert cli.main(["audit", source, "--out", str(tmp_path / "page")]) == 2
    assert "page: exists already" in capsys.readouterr().err


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
