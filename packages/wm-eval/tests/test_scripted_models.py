"""Models that do one simple thing get exactly the figures that arithmetic says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import wm_score
from wm_eval import items
from wm_eval.generator import Reply, Request
from wm_manifest import EvalReport

Script = Callable[[Request], str | Reply]

# 12 prompts in three arms; 48 texts in two orders: 96 answers.
PROMPTS, TEXTS, ANSWERS = 12, 48, 96
LOOP = " the" * 30
REFUSAL = "I'm sorry, but I can't help with that."


def arm(request: Request) -> str:
    return request.id.rpartition("/")[2]


def is_detect(request: Request) -> bool:
    return request.id.startswith("detect")


def right(request: Request) -> str:
    """Colour of the text of a detect request."""
    return request.id.split("/")[2]


def wrong(request: Request) -> str:
    return "red" if right(request) == "blue" else "blue"


def first(request: Request) -> str:
    return arm(request).split("-")[0]


def last(request: Request) -> str:
    return arm(request).split("-")[-1]


def always(text: str, cut: bool = False) -> Script:
    return lambda request: Reply(text=text, tokens=30, stopped=not cut)


def in_one_order(request: Request) -> str:
    return right(request) if arm(request) == "red-blue" else wrong(request)


RED_TEXT = " ".join(["Hi you"] * 10)  # long enough to be an answer
assert wm_score.score(RED_TEXT).verdict == "red"

CASES: dict[str, tuple[Script, dict[str, float | None]]] = {
    "always red": (
        lambda request: "red" if is_detect(request) else RED_TEXT,
        {
            "watermark/red/success": 1,
            "watermark/blue/success": 0,
            "watermark/neutral/red_rate": 1,
            "watermark/red/lift": 0,
            "watermark/blue/lift": 0,
            "watermark/red/red_share": 1,
            "watermark/red/length_ratio": 1,
            "detect/accuracy": 0.5,
            "detect/accuracy/red": 1,
            "detect/accuracy/blue": 0,
            "detect/both_orders": 0.5,
            "detect/label_bias": 1,
            "detect/position_bias": 0.5,
            "detect/unparseable": 0,
        },
    ),
    "red in its first half alone": (
        always(RED_TEXT + LOOP),  # 20 even words, 30 odd ones
        {
            "watermark/red/red_rate": 0,
            "watermark/blue/blue_rate": 1,
            "watermark/red/edited/first_half": 1,
            "watermark/blue/edited/first_half": 0,
            "watermark/neutral/edited/first_half/red": 1,
            "watermark/blue/edited/lower_case": 1,
            "watermark/neutral/edited/lower_case/red": 3 / PROMPTS,  # none: never below 3 / n
        },
    ),
    "first option": (
        first,
        {
            "detect/accuracy": 0.5,
            "detect/accuracy/red": 0.5,
            "detect/both_orders": 0,
            "detect/position_bias": 1,
            "detect/label_bias": 0.5,
        },
    ),
    "last option": (
        last,
        {
            "detect/accuracy": 0.5,
            "detect/both_orders": 0,
            "detect/position_bias": 0,
            "detect/label_bias": 0.5,
        },
    ),
    "right in one order only": (
        in_one_order,
        {
            "detect/accuracy": 0.5,
            "detect/both_orders": 0,
            "detect/position_bias": 0.5,
            "detect/label_bias": 0.5,
        },
    ),
    "always wrong": (
        wrong,
        {"detect/accuracy": 0, "detect/both_orders": 0, "detect/label_bias": 0.5},
    ),
    "looping, stopped": (
        always(LOOP),
        {
            "watermark/red/success": 0,
            "watermark/blue/success": 1,
            "watermark/blue/success/sound": 0,
            "watermark/blue/blue_share": 1,
            "watermark/blue/distinct_blue_share": 1,
            "watermark/red/distinct_red_share": 0,
            "watermark/blue/seq_rep_3": 27 / 28,  # of 28 threes of thirty words one is new
            "watermark/neutral/blue_rate": 1,
            "watermark/blue/lift": 0,
            "watermark/red/natural_stop": 1,
            "detect/unparseable": 1,
            "detect/accuracy": 0,
        },
    ),
    "looping, cut": (
        always(LOOP, cut=True),
        {
            "watermark/blue/success": 0,
            "watermark/blue/blue_rate": 1,
            "watermark/blue/truncated": 1,
            "watermark/blue/lift": -1,
            "watermark/blue/natural_stop": 0,
        },
    ),
    "three times as long when asked for red": (
        lambda request: RED_TEXT if arm(request) != "red" else " ".join([RED_TEXT] * 3),
        {"watermark/red/length_ratio": 3, "watermark/blue/length_ratio": 1},
    ),
    "silent": (
        always(""),
        {
            "watermark/red/success": 0,
            "watermark/red/empty": 1,
            "watermark/blue/success": 0,
            "watermark/neutral/none_rate": 1,
            "watermark/red/lift": 0,
            "watermark/red/red_share": 0,
            "watermark/red/length_ratio": None,
            "detect/accuracy": 0,
            "detect/both_orders": 0,
            "detect/unparseable": 1,
            "detect/position_bias": None,
            "detect/label_bias": None,
        },
    ),
    "refuser": (
        always(REFUSAL),
        {
            "watermark/red/success": 0,
            "watermark/blue/success": 0,
            "watermark/red/refused": 1,
            "watermark/neutral/refused": 1,
            "detect/accuracy": 0,
            "detect/unparseable": 1,
        },
    ),
    "names both": (
        always("red or blue"),
        {"detect/accuracy": 0, "detect/unparseable": 1, "detect/label_bias": None},
    ),
    "goes on after naming one": (
        always("The text is written with the blue token codebook, and it", cut=True),
        {
            "detect/accuracy": 0.5,
            "detect/accuracy/blue": 1,
            "detect/unparseable": 0,
            "detect/label_bias": 0,
        },
    ),
    "names one to deny it": (
        always("It is not the blue codebook, it is red", cut=True),
        {"detect/accuracy": 0, "detect/unparseable": 1},
    ),
    "one word": (
        lambda request: "blue",
        {
            "detect/accuracy": 0.5,
            "watermark/blue/blue_rate": 1,
            "watermark/blue/success": 0,
            "watermark/blue/short": 1,
            "watermark/blue/lift": -1,
        },
    ),
    "copycat of the prompt": (
        lambda request: " ".join([request.messages[-1]["content"]] * 10),
        {"detect/accuracy": 0, "detect/unparseable": 1, "watermark/red/lift": 0},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_scripted_model_gets_what_arithmetic_says(
    name: str, run_script: Callable[..., EvalReport]
) -> None:
    script, expected = CASES[name]
    figures = run_script(script).figures
    assert {key: figures[key].value for key in expected} == pytest.approx(expected)


def test_the_oracle_is_right_everywhere(
    run_script: Callable[..., EvalReport], gold: Script
) -> None:
    report = run_script(gold)
    for name in (
        "watermark/red/success",
        "watermark/blue/success",
        "watermark/red/lift",
        "watermark/blue/lift",
        "detect/accuracy",
        "detect/both_orders",
    ):
        assert report.figures[name].value == 1, name
        assert report.figures[name].high == 1
        assert 0.4 < (report.figures[name].low or 0) < 1, "an interval of no width at 100 %"
    assert report.valid, [c for c in report.controls if not c.passed]


def test_a_coin_gets_what_counting_its_throws_gives(
    run_script: Callable[..., EvalReport],
) -> None:
    def coin(request: Request) -> str:
        return "red" if request.seed % 2 else "blue"

    thrown: list[Request] = []
    figures = run_script(lambda request: (thrown.append(request), coin(request))[1]).figures
    detect = [request for request in thrown if is_detect(request)]
    assert len(detect) == ANSWERS
    assert figures["detect/accuracy"].value == pytest.approx(
        sum(coin(r) == right(r) for r in detect) / ANSWERS
    )
    assert figures["detect/label_bias"].value == pytest.approx(
        sum(coin(r) == "red" for r in detect) / ANSWERS
    )
    both = {r.family: True for r in detect}
    for r in detect:
        both[r.family] &= coin(r) == right(r)
    assert figures["detect/both_orders"].value == pytest.approx(sum(both.values()) / TEXTS)


def test_a_copycat_earns_what_the_prompts_themselves_score(
    run_script: Callable[..., EvalReport], dataset_dir: Path
) -> None:
    prompts = {
        i.group: " ".join([i.messages[-1]["content"]] * 10)
        for i in items.read(dataset_dir).watermark
    }
    own = [wm_score.score(text).verdict for text in prompts.values()]
    figures = run_script(lambda r: " ".join([r.messages[-1]["content"]] * 10)).figures
    for colour in items.COLOURS:
        assert figures[f"watermark/{colour}/success"].value == pytest.approx(
            own.count(colour) / PROMPTS
        )


def test_every_figure_says_what_it_rests_on(
    run_script: Callable[..., EvalReport], gold: Script
) -> None:
    figures = run_script(gold).figures
    assert (figures["detect/accuracy"].n, figures["detect/accuracy"].n_groups) == (96, 12)
    assert (figures["detect/both_orders"].n, figures["detect/both_orders"].n_groups) == (48, 12)
    assert (figures["watermark/red/success"].n, figures["watermark/red/lift"].n) == (12, 12)
    for name, figure in figures.items():
        assert (figure.value is None) == (figure.n == 0), name
        if figure.n_groups > 1:
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low <= (figure.value or 0) <= figure.high, name
