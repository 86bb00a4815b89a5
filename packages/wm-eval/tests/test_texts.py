"""Texts beside the split's own (bands, unmarked, the model's) and the figures that come of them."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import wm_prompts
import wm_score
from wm_eval import WmEvalError, evaluate, items
from wm_eval.generator import Reply, Request
from wm_eval.page import write_page
from wm_manifest import EvalReport

calibration = importlib.import_module("wm_eval.metrics.calibration")
power = importlib.import_module("wm_eval.metrics.power")
separation = importlib.import_module("wm_eval.metrics.separation")
strata = importlib.import_module("wm_eval.metrics.strata")
unmarked = importlib.import_module("wm_eval.metrics.unmarked")

RED, BLUE, NONE = "Hi you " * 10, " the" * 20, "Hi the " * 10
assert [wm_score.score(t).verdict for t in (RED, BLUE, NONE)] == ["red", "blue", "none"]


def cut(text: str, most: int) -> str:
    """The longest beginning of at most so many counted tokens."""
    ends = [token.end for token in wm_score.tokens(text) if token.colour != "none"][:most]
    return text[: ends[-1]]


def add_bands(folder: Path, bands: tuple[int, ...] = (5, 12)) -> None:
    """Each detect example of the test split, its text cut to each band."""
    examples = pq.read_table(folder / "data" / "test-00000-of-00001.parquet").to_pylist()
    seeds = {r["row_id"]: r for r in pq.read_table(folder / "seeds" / "test.parquet").to_pylist()}
    rows: list[dict[str, Any]] = []
    for band in bands:
        for example in (e for e in examples if e["task"] == "detect"):
            text = seeds[example["row_id"]][f"{example['target']}_answer"]
            system, question = example["prompt"]
            asked = question["content"].replace(text, cut(text, band))
            prompt = [system, {"role": "user", "content": asked}]
            rows.append({**example, "prompt": prompt, "band": band})
    (folder / "bands").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "bands" / "test.parquet")


def add_unmarked(folder: Path, texts: list[str]) -> None:
    rows = [
        {"id": str(i), "group": f"u{i}", "source": "here", "text": text}
        for i, text in enumerate(texts)
    ]
    (folder / "none").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "none" / "texts.parquet")


def test_bands_are_read_whole_with_the_text_that_is_asked_about(own_dataset_dir: Path) -> None:
    before = items.read(own_dataset_dir)
    add_bands(own_dataset_dir)
    data = items.read(own_dataset_dir)
    assert (data.watermark, data.detect) == (before.watermark, before.detect)
    assert len(data.bands) == 2 * 4 * 2 * 2  # bands, groups, colours, orders
    for item in data.bands:
        assert item.text in item.messages[-1]["content"]
        assert wm_score.score(item.text).counted == item.band
        assert data.gold[item.id.split("/")[2], str(item.expected)].startswith(item.text)
    few = items.read(own_dataset_dir, limit=3).bands
    assert [sum(i.band == band for i in few) for band in (5, 12)] == [6, 6]


def test_a_reader_of_long_texts_alone_is_right_on_the_long_band_alone(
    own_dataset_dir: Path, run_script: Callable[..., EvalReport]
) -> None:
    add_bands(own_dataset_dir)
    data = items.read(own_dataset_dir)
    by_id = {item.id: item for item in [*data.detect, *data.bands]}

    def script(request: Request) -> str | Reply:
        item = by_id.get(request.id)
        if item is None:
            return ""
        right = str(item.expected)
        p = {"red": -0.1, "blue": -3.0} if right == "red" else {"red": -3.0, "blue": -0.1}
        return Reply(right if item.band != 5 else "red", 1, True, p)

    figures = run_script(script, data=data).figures
    expected = {
        "detect/accuracy": 1,
        "detect/band/5/accuracy": 0.5,
        "detect/band/5/both_orders": 0.5,
        "detect/band/5/likelihood/accuracy": 1,
        "detect/band/12/accuracy": 1,
        "detect/band/12/both_orders": 1,
    }
    assert {name: figures[name].value for name in expected} == pytest.approx(expected)
    assert (figures["detect/band/5/accuracy"].n, figures["detect/accuracy"].n) == (16, 16)
    without = run_script(script, data=data, extras=False).figures
    assert not [name for name in without if name.startswith("detect/band")]
    assert without["detect/accuracy"] == figures["detect/accuracy"]


def test_accuracy_by_length_and_share_is_that_of_the_texts_in_the_band(
    run_script: Callable[..., EvalReport], dataset_dir: Path
) -> None:
    """A reader that is right on texts with less than 60 % of their colour, and on no other."""
    data = items.read(dataset_dir)
    by_id = {item.id: item for item in data.detect}
    scores = {id: wm_score.score(item.text) for id, item in by_id.items()}

    def share(id: str) -> float:
        return scores[id].red_share if by_id[id].expected == "red" else scores[id].blue_share

    def script(request: Request) -> str:
        if request.id not in by_id:
            return ""
        return str(by_id[request.id].expected) if share(request.id) < 0.6 else "neither"

    figures = run_script(script).figures
    names = [name for name in figures if name.startswith("detect/share/")]
    assert sum(figures[name].n for name in names) == 96
    assert figures["detect/share/0-0.6/accuracy"].n == sum(share(id) < 0.6 for id in by_id) > 0
    for name in names:
        if figures[name].n:
            assert figures[name].value == float(name == "detect/share/0-0.6/accuracy"), name
    short = [id for id, score in scores.items() if score.counted <= 25]
    assert figures["detect/length/1-25/accuracy"].n == len(short) > 0
    assert figures["detect/length/1-25/accuracy"].value == pytest.approx(
        sum(share(id) < 0.6 for id in short) / len(short)
    )


def test_the_model_is_asked_about_what_it_wrote_and_earned(
    run_script: Callable[..., EvalReport],
) -> None:
    """It writes red when asked to, nothing else; it names red in one order only."""
    seen: list[Request] = []

    def script(request: Request) -> str:
        if request.id.startswith("detect-own/"):
            seen.append(request)
            return "red" if request.id.endswith("red-blue") else "blue"
        return RED if request.id.startswith("watermark") else "red"

    figures = run_script(script).figures
    assert len(seen) == 12 * 2
    assert all(RED in request.messages[-1]["content"] for request in seen)
    assert figures["detect/own/accuracy"].value == 0.5
    assert figures["detect/own/both_orders"].value == 0
    assert figures["detect/own/accuracy"].n_groups == 12
    assert figures["detect/accuracy"].n == 96, "its own texts must not count among the split's"


def test_a_model_that_always_says_blue_does_not_read_its_own_texts(
    run_script: Callable[..., EvalReport],
) -> None:
    """It hardly writes red: of all its own texts it is mostly right, of each colour it is not."""
    written: list[str] = []

    def script(request: Request) -> str:
        if not request.id.startswith("watermark"):
            return "blue"
        if not request.id.endswith("/red"):
            return BLUE
        written.append(request.id)
        return RED if len(written) <= 2 else BLUE

    figures = run_script(script).figures
    found = {name: figures[f"detect/own/{name}both_orders"] for name in ("", "red/", "blue/")}
    assert {name: (e.value, e.n) for name, e in found.items()} == {
        "": (pytest.approx(12 / 14), 14),
        "red/": (0, 2),
        "blue/": (1, 12),
    }


def test_a_model_is_not_asked_about_its_own_texts_in_words_that_the_dataset_has_not(
    own_dataset_dir: Path, run_script: Callable[..., EvalReport]
) -> None:
    data = items.read(own_dataset_dir)
    templates = [
        t.model_copy(update={"sha256": "f" * 64}) if t.id == "detect/question/plain" else t
        for t in data.manifest.templates
    ]
    data = dataclasses.replace(
        data, manifest=data.manifest.model_copy(update={"templates": templates})
    )
    seen: list[str] = []

    def script(request: Request) -> str:
        if request.id.startswith("detect-own/"):
            seen.append(request.messages[-1]["content"])
        return RED if request.id.startswith("watermark") else "red"

    with pytest.warns(UserWarning, match="other words than the dataset for plain"):
        report = run_script(script, data=data)
    assert report.valid
    assert len(seen) == 4 * 2
    start = wm_prompts.render(
        "detect/question/plain", text=RED, first="red", second="blue"
    ).partition(RED)
    assert not [q for q in seen if q.startswith(start[0]) and q.endswith(start[2])]


def test_unmarked_texts_are_false_positives_where_the_rule_fires(
    own_dataset_dir: Path, run_script: Callable[..., EvalReport], tmp_path: Path
) -> None:
    add_unmarked(own_dataset_dir, [BLUE] * 100 + [NONE] * 300)
    data = items.read(own_dataset_dir)
    figures = run_script(lambda request: RED, data=data, out=tmp_path).figures
    assert "ROC: blue against unmarked texts" in write_page(tmp_path).read_text("utf-8")
    assert (tmp_path / "plots/roc-red-unmarked.svg").is_file()
    assert figures["unmarked/blue_false_positives"].value == 0.25
    assert figures["unmarked/red_false_positives"].value == 3 / 400, "never below 3 / n"
    assert figures["unmarked/edited/lower_case/red"].value == 3 / 400
    assert figures["watermark/neutral/blue_significant"].value == 3 / 4
    assert (figures["unmarked/red_false_positives"].high or 0) >= 3 / 400
    assert figures["watermark/red/auroc_unmarked"].value == 1
    assert figures["watermark/red/tpr_at_1pct_fpr_unmarked"].value == 1
    assert figures["watermark/blue/auroc_unmarked"].value == 0  # RED holds no blue token
    assert figures["watermark/blue/tpr_at_1pct_fpr_unmarked"].value == 0
    assert not any("unmarked" in n for n in run_script(lambda request: RED).figures)


def test_a_model_is_not_asked_about_what_was_cut(run_script: Callable[..., EvalReport]) -> None:
    """It has the colour by the rule and is no success: no more an own text than an empty one."""
    figures = run_script(lambda request: Reply(RED, 20, False)).figures
    assert figures["watermark/red/red_rate"].value == 1
    assert "detect/own/accuracy" not in figures


def test_significant_is_p_of_one_percent_of_the_colour(
    own_dataset_dir: Path, run_script: Callable[..., EvalReport]
) -> None:
    """Of 24 different red words alone p is 0.008, with a dozen blue ones behind them 0.013."""
    red = (
        " you have a little time with great can very there from here is was it will other two first "
        "way year life hand place"
    )
    more = f"{red} the to of and in that for on as at by this"
    assert wm_score.evidence(red).red_p < 0.01 < wm_score.evidence(more).red_p < 0.02
    add_unmarked(own_dataset_dir, [red] * 40 + [more] * 60)
    figures = run_script(
        lambda request: red if request.id.endswith("/red") else more,
        data=items.read(own_dataset_dir),
    ).figures
    assert figures["unmarked/red_significant"].value == 0.4
    assert figures["unmarked/blue_significant"].value == 0.03, "never below 3 / n"
    assert figures["watermark/red/red_significant"].value == 1
    assert figures["watermark/neutral/red_significant"].value == 3 / 4, "never below 3 / n"
    assert figures["watermark/neutral/red_significant"].low == 0
    assert figures["watermark/blue/blue_significant"].value == 0


def test_auroc_of_unpaired_sides_is_the_mann_whitney_share_with_a_cover() -> None:
    from scipy.stats import mannwhitneyu

    marked, plain = [0.6, 0.7, 0.5, 0.9], [0.5, 0.4, 0.65, 0.3, 0.2, 0.5]
    found = separation.auroc_apart(marked, list("abcd"), plain, list("uvwxyz"))
    assert found.value == pytest.approx(mannwhitneyu(marked, plain).statistic / 24)
    twice = separation.auroc_apart(marked * 2, list("abcd") * 2, plain * 2, list("uvwxyz") * 2)
    assert (twice.low, twice.high) == pytest.approx((found.low, found.high), rel=1e-9)


@pytest.mark.parametrize(("marked", "least"), [(2, 0.0), (20, 0.80), (100, 0.95)])
def test_auroc_is_no_more_certain_than_the_smaller_side(marked: int, least: float) -> None:
    plain = [0.5] * 2000
    found = separation.auroc_apart(
        [0.9] * marked, [f"m{i}" for i in range(marked)], plain, [f"u{i}" for i in range(2000)]
    )
    assert (found.value, found.n_groups) == (1, marked)
    assert least < (found.low or 0) < 1 - 2 / marked / 2
    assert separation.auroc_apart([0.9], ["m"], plain, ["u"] * 2000).value is None


def test_thresholds_come_from_other_groups_than_the_judged_one() -> None:
    plain = [0.5] * 400
    groups = [f"u{i}" for i in range(400)]
    # Group "a" has high plain values of its own: they must not raise the bar for "a".
    found = power.power_apart([0.6, 0.6], ["a", "b"], [*plain, *[0.9] * 20], [*groups, *["a"] * 20])
    assert found.value == 0.5
    assert power.power_apart([1.0], ["a"], [0.0] * 299, groups[:299]).value is None
    assert power.power_apart([1.0], ["a"], [0.0] * 300, groups[:300]).value == 1


CALIBRATED: dict[str, tuple[list[float], list[bool], float]] = {
    "always one half": ([0.5] * 4, [True, False, True, False], 0.0),
    "sure and right": ([1.0, 0.0], [True, False], 0.0),
    "sure and wrong": ([1.0, 0.0], [False, True], 1.0),
    "80 % said, half true": ([0.8] * 4, [True, False, True, False], 0.3),
    "two bins that would cancel": ([0.75] * 2 + [0.25] * 2, [False, True, True, False], 0.25),
    "no number": ([math.nan] * 2, [True, False], 1.0),
}


@pytest.mark.parametrize("name", CALIBRATED)
def test_calibration_error_is_what_arithmetic_says(name: str) -> None:
    stated, happened, expected = CALIBRATED[name]
    found = calibration.calibration_error(stated, happened, [str(i) for i in range(len(stated))])
    assert found.value == pytest.approx(expected)


def test_brier_and_reliability_of_a_model_that_says_80_percent_red(
    run_script: Callable[..., EvalReport],
) -> None:
    stated = {"red": math.log(0.8), "blue": math.log(0.2)}
    figures = run_script(lambda request: Reply("red", 1, True, stated)).figures
    assert figures["detect/likelihood/brier"].value == pytest.approx((0.2**2 + 0.8**2) / 2)
    assert figures["detect/likelihood/ece"].value == pytest.approx(0.3)
    assert figures["detect/likelihood/reliability/0.8-0.9"].value == 0.5
    assert figures["detect/likelihood/reliability/0.8-0.9"].n == 96
    assert figures["detect/likelihood/reliability/0.1-0.2"].n == 0


def drop(column: str) -> Callable[[Path], None]:
    return lambda path: pq.write_table(pq.read_table(path).drop([column]), path)


@pytest.mark.parametrize(
    ("path", "how", "message"),
    [
        ("bands/test.parquet", drop("band"), "has no column 'band'"),
        ("none/texts.parquet", drop("text"), "has no column 'text'"),
        ("none/texts.parquet", lambda p: p.write_bytes(b"no"), "cannot be read as parquet"),
        (
            "bands/test.parquet",
            lambda p: pq.write_table(pq.read_table(p).slice(0, 1), p),
            "detect must be asked in both orders once",
        ),
    ],
)
def test_damaged_extra_files_are_named(
    own_dataset_dir: Path, path: str, how: Callable[[Path], Any], message: str
) -> None:
    add_bands(own_dataset_dir)
    add_unmarked(own_dataset_dir, [NONE])
    how(own_dataset_dir / path)
    with pytest.raises(WmEvalError, match=message):
        items.read(own_dataset_dir)


def test_a_real_model_is_asked_about_bands(
    model: Any, tokenizer: Any, own_dataset_dir: Path, tmp_path: Path
) -> None:
    add_bands(own_dataset_dir)
    report = evaluate(model, tokenizer, own_dataset_dir, max_new_tokens=4, progress=False)
    assert report.figures["detect/band/12/likelihood/accuracy"].n == 16
