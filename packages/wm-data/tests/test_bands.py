"""Test texts cut to lengths: still of their colour, balanced, in both orders, counted."""

from collections import Counter

import pyarrow.parquet as pq
import pytest

import wm_data
import wm_prompts
import wm_score
from wm_data.audit import audit
from wm_data.bands import BAND_REASONS, cut, cut_bands
from wm_data.recipe import AuditRules, BandRules


@pytest.fixture(scope="module")
def lines(demo):
    return pq.read_table(demo.path / "bands/test.parquet").to_pylist()


def test_every_text_is_a_beginning_that_still_has_its_colour(demo, lines):
    rows = {row.row_id: row for row in demo.rows("test")}
    for line in lines:
        answer = getattr(rows[line["row_id"]], f"{line['target']}_answer")
        score = wm_score.score(line["text"])
        assert answer.startswith(line["text"])
        assert answer != line["text"]
        assert score.verdict == line["target"]
        assert line["band"] - 8 < score.counted <= line["band"]
        assert answer[len(line["text"])] == " "


def test_each_band_has_both_colours_of_a_row_in_both_orders(demo, lines):
    found = Counter((line["band"], line["row_id"]) for line in lines)
    assert set(found.values()) == {4}
    for band in {line["band"] for line in lines}:
        kinds = Counter((line["target"], line["order"]) for line in lines if line["band"] == band)
        assert len(kinds) == 4
        assert set(kinds.values()) == {demo.manifest.bands[str(band)].rows}


def test_the_question_is_the_split_s_own_but_for_the_text(demo, lines):
    own = {
        (line["row_id"], line["target"], line["order"]): line
        for line in demo.examples("test").to_list()
        if line["task"] == "detect"
    }
    for line in lines:
        whole = own[line["row_id"], line["target"], line["order"]]
        first, second = line["order"].split("-")
        assert {**line, "id": "", "prompt": ""} == {
            **whole, "id": "", "prompt": "", "text": line["text"], "band": line["band"]
        }  # fmt: skip
        assert line["id"] == f"{whole['id']}-band-{line['band']}"
        assert line["prompt"][0] == whole["prompt"][0]
        assert line["prompt"][1]["content"] == wm_prompts.render(
            f"detect/question/{line['variant']}", text=line["text"], first=first, second=second
        )
    assert len({line["id"] for line in lines}) == len(lines)


def test_every_test_row_is_in_a_band_or_counted_as_not(demo, lines):
    rows = demo.manifest.splits["test"].rows
    assert list(demo.manifest.bands) == ["16", "32"]
    for name, band in demo.manifest.bands.items():
        assert band.rows + sum(band.dropped.values()) == rows
        assert band.examples == 4 * band.rows
        assert band.examples == sum(line["band"] == int(name) for line in lines)
        assert set(band.dropped) <= set(BAND_REASONS)
        assert band.rows == 100


def test_by_default_there_are_five_lengths(small, tmp_path):
    manifest = wm_data.build(small, tmp_path / "out", progress=False)
    rows = manifest.splits["test"].rows
    assert list(manifest.bands) == ["16", "32", "64", "128", "256"]
    assert manifest.bands["64"].dropped == {"short": rows}
    assert 0 < manifest.bands["16"].rows <= rows


EVEN, ODD = " is", " the"
ROWS = {
    "sound": (EVEN * 40, ODD * 40, ""),
    "short red": (EVEN * 10, ODD * 40, "short"),
    "exactly as long": (EVEN * 16, ODD * 40, "short"),
    "blue at its beginning": (ODD * 14 + EVEN * 40, ODD * 40, "lost colour"),
    "red at its beginning": (EVEN * 40, EVEN * 10 + ODD * 40, "lost colour"),
    "55 % at its beginning": (ODD * 8 + EVEN * 40, ODD * 40, "lost colour"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_row_that_is_short_or_loses_its_colour_is_left_out(case):
    red, blue, reason = ROWS[case]
    items = list(audit([wm_data.Row("s", "p", red, blue)], AuditRules(min_counted=1)))
    (band,) = cut_bands(items, "test", 0, BandRules(counted=[16]))
    assert band.dropped == ({reason: 1} if reason else {})
    assert len(band.lines) == 4 * (not reason)


def test_a_band_has_at_most_so_many_rows(tmp_path, demo):
    items = list(audit(demo.rows("test"), AuditRules()))
    few, all_of = (
        cut_bands(items, "test", 0, BandRules(counted=[32], rows=rows))[0] for rows in (20, 500)
    )
    assert (few.rows, len(few.lines)) == (20, 80)
    assert few.dropped["enough"] > 0
    assert few.rows + sum(few.dropped.values()) == all_of.rows + sum(all_of.dropped.values())
    assert all_of.lines[:80] == few.lines


@pytest.mark.parametrize(
    ("text", "counted", "expected"),
    [
        ("One two three four", 2, "One two"),
        ("One, two; three", 2, "One, two;"),
        ("One two antidisestablishmentarianism", 7, "One two"),
        ("antidisestablishmentarianism", 2, "antidis"),
        ("水印很好用", 2, "水印"),
    ],
)
def test_a_cut_does_not_end_within_a_word_if_it_can(text, counted, expected):
    assert wm_score.score(text).counted > counted
    assert cut(text, counted) == expected


def test_a_recipe_may_ask_for_none(small, tmp_path, write_recipe, write_lines, records):
    recipe = write_recipe({"id": "a", "file": write_lines(records)}, bands={"counted": []})
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False)
    assert manifest.bands == {}
    assert not (tmp_path / "out/bands").exists()
    assert "Lengths" not in (tmp_path / "out/README.md").read_text()


def test_the_card_and_the_table_name_them(demo, capsys):
    from wm_data import cli

    assert "at\nmost 16, 32 counted tokens" in (demo.path / "README.md").read_text()
    assert cli.main(["show", str(demo.path)]) == 0
    printed = capsys.readouterr().out
    assert "test texts cut to lengths" in printed
    assert "317 unmarked texts to 106 prompts" in printed
