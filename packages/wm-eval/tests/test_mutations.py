"""More mistakes, planted one by one: base perplexity, lift, calibration, bands. A check must fail.

As in test_mistakes, each check passes on the code as it is.
"""

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

from wm_eval import WmEvalError, items, stats
from wm_eval.generator import Continuation, Likelihood, Reply, Request
from wm_manifest import EvalReport

calibration = importlib.import_module("wm_eval.metrics.calibration")

RED = "Hi you " * 10
BLUE = " the" * 20
NLL = {"red": 3.0, "blue": 2.0, "neutral": 1.0}  # of a token under the base model


@dataclasses.dataclass
class World:
    """Ways to ask scripted models about a dataset that has texts in two bands."""

    folder: Path
    ask: Callable[..., EvalReport]

    def figures(self, script: Any, **kwargs: Any) -> Any:
        return self.ask(script, data=items.read(self.folder), **kwargs).figures


def arm(id: str) -> str:
    return id.rpartition("/")[2]


def weighed(world: World, answer: Callable[[Request], str]) -> Any:
    """Figures with a base model that writes blue and weighs 7 tokens by the arm's `NLL`."""

    def likelihood(one: Continuation) -> Likelihood:
        return Likelihood(-NLL[arm(one.id)] * 7, 7) if one.answer else Likelihood(0.0, 0)

    return world.figures(answer, base=(lambda request: BLUE, likelihood))


def perplexity_of_a_token(world: World) -> None:
    figures = weighed(world, lambda request: RED)
    assert figures["watermark/red/base_ppl"].value == pytest.approx(math.e**3)


def ratio_to_the_neutral_answer(world: World) -> None:
    figures = weighed(world, lambda request: RED)
    assert figures["watermark/red/base_ppl_ratio"].value == pytest.approx(math.e**2)


def silence_has_no_perplexity(world: World) -> None:
    figures = weighed(world, lambda request: "" if request.seed % 2 else RED)
    assert figures["watermark/red/base_ppl"].value == pytest.approx(math.e**3)
    assert 0 < figures["watermark/red/base_ppl"].n < 4


def every_arm_is_weighed_after_the_neutral_prompt(world: World) -> None:
    systems: dict[str, set[str]] = {}

    def likelihood(one: Continuation) -> Likelihood:
        systems.setdefault(one.id.split("/")[1], set()).add(one.messages[0]["content"])
        return Likelihood(-1.0, 1)

    world.figures(lambda request: RED, base=(lambda request: BLUE, likelihood))
    assert systems
    assert all(len(found) == 1 for found in systems.values())


def the_base_gets_the_same_random_numbers(world: World) -> None:
    seeds: dict[str, list[int]] = {}

    def note(request: Request) -> str:
        seeds.setdefault(request.id.removeprefix("base/"), []).append(request.seed)
        return RED

    world.figures(note, base=(note, lambda one: Likelihood(-1.0, 1)))
    both = [found for id, found in seeds.items() if id.startswith("watermark/")]
    assert len(both) == 12
    assert all(len(found) == 2 and len(set(found)) == 1 for found in both)


def lift_over_the_base_is_over_the_base(world: World) -> None:
    figures = weighed(world, lambda request: BLUE if arm(request.id) == "blue" else RED)
    assert figures["watermark/red/lift_over_base"].value == 1
    assert figures["watermark/blue/lift_over_base"].value == 0


def lift_leaves_out_what_came_by_itself(world: World) -> None:
    """It always writes red: half of what it is asked for, and no skill."""
    figures = world.figures(lambda request: RED)
    assert figures["watermark/red/success"].value == 1
    assert figures["watermark/red/lift"].value == 0


def lift_is_of_one_colour(world: World) -> None:
    """It writes blue unless it is asked for red."""
    figures = world.figures(lambda request: RED if arm(request.id) == "red" else BLUE)
    assert figures["watermark/red/lift"].value == 1
    assert figures["watermark/blue/lift"].value == 0


def lift_is_paired_by_prompt(world: World) -> None:
    """Half of the prompts come out red in both arms, the others in neither: no difference at all."""
    groups: list[str] = []

    def script(request: Request) -> str:
        group = request.id.split("/")[1]
        groups.extend([group] if group not in groups else [])
        return RED if groups.index(group) % 2 else BLUE

    found = world.figures(script)["watermark/red/lift"]
    nothing = stats.bounded([0.0] * 4, list("abcd"), low=-1.0, high=1.0)
    assert (found.value, found.low, found.high) == (0, nothing.low, nothing.high)


def stating(red: float, blue: float) -> Callable[[Request], Reply]:
    return lambda request: Reply("red", 1, True, {"red": math.log(red), "blue": math.log(blue)})


def brier_is_squared(world: World) -> None:
    figures = world.figures(stating(0.8, 0.2))
    assert figures["detect/likelihood/brier"].value == pytest.approx((0.2**2 + 0.8**2) / 2)


def probability_is_among_the_two_words(world: World) -> None:
    """One half of the mass of the two words, one in a thousand of all."""
    figures = world.figures(stating(0.0005, 0.0005))
    assert figures["detect/likelihood/brier"].value == pytest.approx(0.25)


def no_number_is_wholly_wrong(world: World) -> None:
    stated = {"red": math.nan, "blue": math.nan}
    figures = world.figures(lambda request: Reply("red", 1, True, stated))
    assert figures["detect/likelihood/brier"].value == 1
    assert figures["detect/likelihood/ece"].value == 1


def bins_do_not_cancel(world: World) -> None:
    found = calibration.calibration_error(
        [0.75] * 2 + [0.25] * 2, [False, True, True, False], list("abcd")
    )
    assert found.value == pytest.approx(0.25)


def one_belongs_to_the_last_bin(world: World) -> None:
    figures = world.figures(stating(1.0, 1e-300))
    assert figures["detect/likelihood/reliability/0.9-1.0"].n == 16


def each_band_has_its_own_figure(world: World) -> None:
    data = items.read(world.folder)
    bands = {item.id: item for item in data.bands}

    def script(request: Request) -> str:
        item = bands.get(request.id)
        return str(item.expected) if item and item.band == 12 else ""

    figures = world.figures(script)
    assert "detect/band/12/accuracy" in figures
    assert figures["detect/band/12/accuracy"].value == 1
    assert figures["detect/band/5/accuracy"].value == 0
    assert figures["detect/accuracy"].value == 0


def a_limit_is_of_each_band(world: World) -> None:
    few = items.read(world.folder, limit=3).bands
    assert [sum(item.band == band for item in few) for band in (5, 12)] == [6, 6]


def the_text_judged_is_the_cut_one(world: World) -> None:
    for item in items.read(world.folder).bands:
        assert len(item.text.split()) == item.band


def a_band_text_is_asked_in_both_orders(world: World) -> None:
    path = world.folder / "bands" / "test.parquet"
    whole = pq.read_table(path)
    pq.write_table(whole.slice(0, 1), path)
    try:
        items.read(world.folder)
    except WmEvalError:
        refused = True
    else:
        refused = False
    pq.write_table(whole, path)
    assert refused


def own_texts_are_apart(world: World) -> None:
    """It reads its own texts right and no other."""
    own = "detect-own/"
    figures = world.figures(
        lambda r: r.id.split("/")[-2] if r.id.startswith(own) else RED if "water" in r.id else ""
    )
    assert figures["detect/own/accuracy"].value == 1
    assert figures["detect/own/accuracy"].n == 8


# (check, module, what stands there, the mistake)
PLANTED: list[tuple[Callable[[World], None], str, str, str]] = [
    (
        perplexity_of_a_token,
        "metrics.base",
        '-answer.base["log_likelihood"] / tokens',
        '-answer.base["log_likelihood"]',
    ),
    (perplexity_of_a_token, "metrics.base", "math.exp(min(at, 700.0))", "min(at, 700.0)"),
    (ratio_to_the_neutral_answer, "metrics.base", "(loss - neutral[g], g)", "(loss, g)"),
    (silence_has_no_perplexity, "metrics.base", "if tokens else math.nan", "if tokens else 0.0"),
    (
        every_arm_is_weighed_after_the_neutral_prompt,
        "asking",
        "tuple(plain[a.group])",
        "tuple(a.messages)",
    ),
    (the_base_gets_the_same_random_numbers, "asking", "item.id.removeprefix(BASE)", "item.id"),
    (
        lift_over_the_base_is_over_the_base,
        "metrics.base",
        "float(a.passed) - float(untrained[a.group].passed)",
        "float(a.passed)",
    ),
    (
        lift_over_the_base_is_over_the_base,
        "metrics.base",
        'select(answers, "watermark", arm, origin="base")',
        'select(answers, "watermark", "neutral", origin="base")',
    ),
    (
        lift_leaves_out_what_came_by_itself,
        "metrics.lift",
        " - float(neutral[a.group].verdict == colour)",
        "",
    ),
    (
        lift_leaves_out_what_came_by_itself,
        "metrics.lift",
        "neutral[a.group].verdict == colour",
        "neutral[a.group].passed",
    ),
    (lift_is_of_one_colour, "metrics.lift", ".verdict == colour", '.verdict != "none"'),
    (
        lift_is_paired_by_prompt,
        "metrics.lift",
        "neutral[a.group].verdict",
        "list(neutral.values())[own.index(a) - 1].verdict",
    ),
    (brier_is_squared, "metrics.calibration", "(p - h) ** 2", "abs(p - h)"),
    (probability_is_among_the_two_words, "metrics.calibration", "blue - red)", "-red)"),
    (
        no_number_is_wholly_wrong,
        "metrics.calibration",
        "1.0 if math.isnan(p)",
        "0.0 if math.isnan(p)",
    ),
    (
        bins_do_not_cancel,
        "metrics.calibration",
        "if totals[bin_of(p)] >= 0",
        "if sum(totals.values()) >= 0",
    ),
    (
        one_belongs_to_the_last_bin,
        "metrics.calibration",
        "min(BINS - 1, int(p * BINS))",
        "int(p * BINS)",
    ),
    (each_band_has_its_own_figure, "metrics.strata", 'f"{a.band:04d}"', '"0"'),
    (
        each_band_has_its_own_figure,
        "answers",
        "a.task == task and a.origin == origin and",
        'a.task == task and (a.origin == origin or a.origin == "band") and',
    ),
    (a_limit_is_of_each_band, "texts", "taken[band] > limit", "sum(taken.values()) > limit"),
    (
        the_text_judged_is_the_cut_one,
        "texts",
        "question[len(before) : len(question) - len(after)]",
        "question",
    ),
    (a_band_text_is_asked_in_both_orders, "texts", "both_orders(pair, f", "str(f"),
    (own_texts_are_apart, "metrics.strata", 'origin="own"', 'origin="seed"'),
]


@pytest.fixture
def world(own_dataset_dir: Path, run_script: Any) -> World:
    """Four groups of one row; each text of the split also cut to 5 and to 12 words."""
    path = own_dataset_dir / "data" / "test-00000-of-00001.parquet"
    seeds = pq.read_table(own_dataset_dir / "seeds" / "test.parquet").to_pylist()
    texts = {(r["row_id"], c): r[f"{c}_answer"] for r in seeds for c in items.COLOURS}
    rows: list[dict[str, Any]] = []
    for band in (5, 12):
        for example in pq.read_table(path).to_pylist():
            if example["task"] == "detect":
                text = texts[example["row_id"], example["target"]]
                system, question = example["prompt"]
                short = " ".join(text.split()[:band])
                user = {"role": "user", "content": question["content"].replace(text, short)}
                rows.append({**example, "prompt": [system, user], "band": band})
    (own_dataset_dir / "bands").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), own_dataset_dir / "bands" / "test.parquet")
    return World(own_dataset_dir, run_script)


NAMES = [f"{number}-{check.__name__}" for number, (check, *_) in enumerate(PLANTED)]


@pytest.mark.parametrize("number", range(len(PLANTED)), ids=NAMES)
def test_the_check_passes_and_the_mistake_fails_it(number: int, world: World, planted: Any) -> None:
    check, module, there, mistake = PLANTED[number]
    check(world)
    with planted(module, there, mistake), pytest.raises(AssertionError):
        check(world)
    check(world)  # and nothing of it is left behind
