"""A comparison is paired, keeps its error rate, and says when it cannot tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from wm_eval import WmEvalError, items
from wm_eval.cli import main
from wm_eval.compare import cautions, compare, difference, mid_p
from wm_eval.folder import seal
from wm_eval.generator import Reply, Request
from wm_manifest import EvalReport

Run = Callable[..., EvalReport]
RED, BLUE, NONE = "Hi you " * 10, " the" * 20, "Hi the " * 10


def names(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def test_differences_are_paired_by_item() -> None:
    found = difference("x", [True, False, True, True], [True, True, False, True], names(4))
    assert (found.a, found.b, found.difference.value) == (0.75, 0.75, 0)
    assert (found.only_a, found.only_b) == (1, 1)


@pytest.mark.parametrize(
    ("only_a", "only_b", "n", "verdict"),
    [
        (0, 0, 40, "no difference seen"),
        (0, 0, 20, "too few to tell"),
        (0, 3, 40, "too few to tell"),
        (0, 4, 40, "too few to tell"),
        (0, 5, 40, "B is better"),
        (0, 12, 40, "B is better"),
        (12, 0, 40, "A is better"),
        (10, 12, 40, "too few to tell"),
        (100, 102, 400, "no difference seen"),
    ],
)
def test_verdicts(only_a: int, only_b: int, n: int, verdict: str) -> None:
    a = [i < only_a for i in range(n)]
    b = [only_a <= i < only_a + only_b for i in range(n)]
    assert difference("x", a, b, names(n)).verdict == verdict


def rejections(sets: int, per_group: int, seed: int) -> float:
    """How often two equal models are called different, on clustered items."""
    rng = np.random.default_rng(seed)
    groups = [str(i // per_group) for i in range(100 * per_group)]
    found = 0
    for _ in range(sets):
        p = np.repeat(rng.beta(4, 2, 100), per_group)
        a, b = (list(rng.random(len(p)) < p) for _ in range(2))
        found += difference("x", a, b, groups).verdict in ("A is better", "B is better")
    return found / sets


@pytest.mark.parametrize(("per_group", "least"), [(1, 0.04), (4, 0.0)])
def test_equal_models_are_seldom_called_different(per_group: int, least: float) -> None:
    # With one item a group the exact binomial test, without mid-p, gives 0.037 here.
    assert least <= rejections(300, per_group, seed=0) <= 0.09


@pytest.mark.slow
@pytest.mark.parametrize("per_group", [1, 4, 12])
def test_equal_models_are_called_different_4_to_6_percent_of_the_time(per_group: int) -> None:
    assert 0.04 <= rejections(2000, per_group, seed=1) <= 0.06


@pytest.mark.parametrize("discordant", [1, 2, 5, 12, 33])
def test_mid_p_is_that_of_its_definition(discordant: int) -> None:
    # Fagerland et al. 2013: the exact p less the chance of what was seen; 1 for a draw.
    for fewer in range(discordant // 2 + 1):
        exact = binomtest(fewer, discordant).pvalue
        seen = binom.pmf(fewer, discordant, 0.5)
        drawn = 2 * fewer == discordant
        assert mid_p(fewer, discordant) == pytest.approx(1 if drawn else exact - seen)


def test_folders_are_compared_by_the_command(
    run_script: Run, gold: Callable[[Request], str], tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    run_script(lambda request: "", out=tmp_path / "a")
    run_script(gold, out=tmp_path / "b")
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "detect/both_orders" in out
    assert "B is better" in out
    found = {d.name: d for d in compare(tmp_path / "a", tmp_path / "b")}
    assert found["detect/accuracy"].difference.value == 1
    assert found["detect/accuracy"].p is None, "two orders of a text are not independent"
    assert found["watermark/red/success"].p == pytest.approx(0.5**12)


def test_each_side_has_the_figures_of_its_report(
    run_script: Run, gold: Callable[[Request], str], tmp_path: Path
) -> None:
    """Of a model that is right, loops, is cut off, or reads one order alone, one prompt each."""

    kinds = cycle(range(5))

    def mixed(request: Request) -> Reply:
        kind = next(kinds)
        text = gold(request)
        if kind == 1:
            text = f"{text} {text} {text}" if request.id.startswith("watermark") else "first"
        likely = {"red": -1.0, "blue": -2.0}
        return Reply(text, tokens=len(text.split()), stopped=kind != 2, options=likely)

    report = run_script(mixed, out=tmp_path / "a")
    found = compare(tmp_path / "a", tmp_path / "a")
    assert {d.name for d in found} == {
        *(
            f"watermark/{colour}/{rate}"
            for colour in ("red", "blue")
            for rate in ("success", "success/sound", "natural_stop", "lift")
        ),
        *(
            f"detect/{reading}{rate}"
            for reading in ("", "likelihood/")
            for rate in ("accuracy", "both_orders")
        ),
    }
    for d in found:
        assert d.a == d.b == pytest.approx(report.figures[d.name].value), d.name
    values = {d.name: d.a for d in found}
    assert values["watermark/red/success/sound"] < values["watermark/red/success"] < 1
    assert values["detect/likelihood/accuracy"] == 0.5


def alter(folder: Path, change: Callable[[Any], None]) -> None:
    report = json.loads((folder / "eval.json").read_text(encoding="utf-8"))
    change(report)
    (folder / "eval.json").write_text(json.dumps(report), encoding="utf-8")
    seal(folder)  # as if it had been written so


def invalidate(report: Any) -> None:
    report["valid"] = report["controls"][0]["passed"] = False


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda report: None, 0, ""),
        (invalidate, 3, "B is not valid; does not hold: codebook is the dataset's"),
        (
            lambda r: r["decoding"].update(temperature=0.0),
            0,
            "temperature is not the same: 0.7 and 0.0",
        ),
        (lambda r: r.update(chat_template_sha256="f" * 64), 0, "chat template is not the same"),
        (
            lambda r: r["templates"][0].update(sha256="f" * 64),
            0,
            "prompt templates is not the same",
        ),
    ],
)
def test_what_stands_against_a_comparison_is_said(
    change: Callable[[Any], None],
    code: int,
    said: str,
    run_script: Run,
    gold: Callable[[Request], str],
    tmp_path: Path,
    capsys: Any,
) -> None:
    run_script(gold, out=tmp_path / "a")
    run_script(lambda request: "", out=tmp_path / "b")
    alter(tmp_path / "b", change)
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert stop.value.code == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("warning: ") == bool(said)


def test_items_of_one_side_alone_are_left_out_and_counted(
    run_script: Run, gold: Callable[[Request], str], dataset_dir: Path, tmp_path: Path, capsys: Any
) -> None:
    run_script(gold, out=tmp_path / "a", data=items.read(dataset_dir, limit=5), limit=5)
    run_script(gold, out=tmp_path / "b")
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    said = capsys.readouterr()
    assert "limit is not the same: 5 and None" in said.err
    assert "watermark/red/success: 5 items are in both, of 5 of A and 12 of B" in said.err
    assert "detect/accuracy: 10 items are in both, of 10 of A and 96 of B" in said.err


@pytest.mark.parametrize(("other", "told"), [("", True), (RED, False)])
def test_one_model_under_two_names_is_told(
    run_script: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], other: str, told: bool
) -> None:
    run_script(lambda request: "", out=tmp_path / "a")
    run_script(lambda request: other, out=tmp_path / "b")
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    said = capsys.readouterr().err
    assert ("warning: no item differs in any figure: A and B may be one model" in said) is told, (
        said
    )


def test_a_model_that_writes_blue_whatever_it_is_asked_gains_no_lift(
    run_script: Run, tmp_path: Path
) -> None:
    def obeys(request: Request) -> str:
        return {"red": RED, "blue": BLUE}.get(request.id.rpartition("/")[2], NONE)

    run_script(obeys, out=tmp_path / "a")
    run_script(lambda request: BLUE, out=tmp_path / "b")
    found = {d.name: d for d in compare(tmp_path / "a", tmp_path / "b")}
    assert found["watermark/blue/success"].difference.value == 0
    lift = found["watermark/blue/lift"]
    assert (lift.a, lift.b, lift.p, lift.verdict) == (1, 0, None, "A is better")
    assert found["watermark/red/lift"].b == 0


@pytest.mark.parametrize(
    ("field", "values", "said"),
    [
        ("precision", ("float32", "bfloat16"), ["precision is not the same: float32 and bfloat16"]),
        (
            "precision",
            ("float32 (4-bit weights)", "float32"),
            ["precision is not the same: float32 (4-bit weights) and float32"],
        ),
        ("precision", (None, "bfloat16"), []),  # a report from before the field
        ("hardware", ("x86_64 cuda:0", "x86_64 vllm"), ["device is not the same: cuda and vllm"]),
        ("hardware", ("x86_64 cuda:0", "aarch64 cuda:1"), []),
        ("hardware", ("x86_64", "x86_64 cpu"), []),
    ],
)
def test_another_arithmetic_is_said_where_both_tell_theirs(
    field: str,
    values: tuple[str | None, str],
    said: list[str],
    run_script: Run,
    gold: Callable[[Request], str],
    tmp_path: Path,
) -> None:
    for name, value in zip("ab", values, strict=True):
        run_script(gold, out=tmp_path / name)
        alter(tmp_path / name, lambda report, value=value: report.update({field: value}))
    assert cautions(tmp_path / "a", tmp_path / "b") == ([], said)


def test_what_cannot_be_paired_is_refused(run_script: Run, tmp_path: Path) -> None:
    run_script(lambda request: "", out=tmp_path / "a")
    with pytest.raises(WmEvalError, match="is this a folder that wm-eval --out wrote"):
        compare(tmp_path / "a", tmp_path)
    run_script(lambda request: "", out=tmp_path / "b")
    alter(tmp_path / "b", lambda report: report.update(split="train"))
    with pytest.raises(WmEvalError, match="split is test and train"):
        compare(tmp_path / "a", tmp_path / "b")
