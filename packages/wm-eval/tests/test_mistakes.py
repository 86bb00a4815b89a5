"""Thirteen mistakes of published watermark evaluators, each planted in our code: a check must fail.

docs/mistakes.md says what each is. `CHECKS` pass on the code as it is; after the source of a module
was changed as in `MISTAKES`, the check of that number must fail.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
from scipy.stats import t

import wm_score
from wm_eval import compare as compare_module
from wm_eval import items, stats
from wm_manifest import EvalReport

# By name: the package re-exports functions under the names of its modules.
quality = importlib.import_module("wm_eval.metrics.quality")
power = importlib.import_module("wm_eval.metrics.power")

PLAIN = (
    "Rain fell on the hills for most of the day, and by evening the road to the village was under "
    "water. People put candles in their windows and waited for the morning."
)


@dataclasses.dataclass
class World:
    """What a check may use: a dataset folder, and a way to ask a scripted model."""

    dataset_dir: Path
    leaky_dir: Path
    ask: Callable[[Any, Path], EvalReport]

    def silent(self) -> EvalReport:
        return self.ask(lambda request: "", self.dataset_dir)


def exact_tail(world: World) -> None:
    found = compare_module.difference(
        "x", [False] * 40, [i < 12 for i in range(40)], [str(i) for i in range(40)]
    )
    assert found.p == pytest.approx(0.5**12)


def repeats_by_value(world: World) -> None:
    fresh = [int(str(10_000 + i % 2)) for i in range(40)]  # equal, not identical
    assert quality.seq_rep(fresh) > 0.9


def whole_answer(world: World) -> None:
    figures = world.ask(lambda request: PLAIN, world.dataset_dir).figures
    assert figures["watermark/neutral/red_p"].value == pytest.approx(wm_score.evidence(PLAIN).red_p)


def few_groups(world: World) -> None:
    values = [1.0, 2.0, 4.0, 8.0]
    wide = t.interval(0.95, 3, mean(values), np.std(values, ddof=1) / 2)
    found = stats.mean(values, range(4))
    assert (found.low, found.high) == pytest.approx(wide)


def enough_negatives(world: World) -> None:
    names = [str(i) for i in range(500)]
    assert power.power([1.0] * 500, [0.0] * 500, names).value is None


def fractions(world: World) -> None:
    assert quality.seq_rep([7] * 12) == pytest.approx(0.9)


def threshold_of_the_others(world: World) -> None:
    names = sorted(str(i) for i in range(800))  # halves are every other one of these
    plain = [0.5 + 5 * (i % 2 == 0) for i in range(800)]  # one half's own plain answers are high
    marked = [float(i % 2 == 0) for i in range(800)]  # and that half alone is marked
    assert power.power(marked, plain, names).value == 0.5


def same_prompts(world: World) -> None:
    data = items.read(world.dataset_dir)
    asked = {(i.group, i.messages[-1]["content"]) for i in data.watermark}
    assert len(asked) == len({i.group for i in data.watermark})


def failures_stay(world: World) -> None:
    half = world.ask(lambda request: "" if request.seed % 2 else PLAIN, world.dataset_dir)
    figures = half.figures
    assert figures["watermark/red/success"].n == figures["watermark/neutral/red_rate"].n == 12


def judged_one_counts(world: World) -> None:
    names = sorted(f"{i:03d}" for i in range(600))
    plain = [(i // 2) / 300 for i in range(600)]  # 0 to 299 three-hundredths in each half
    marked = [296.5 / 300] * 600  # above the 297th of 300 and below the 298th
    assert power.power(marked, plain, names).value == 0


def always_on(world: World) -> None:
    assert not world.ask(lambda request: "", world.leaky_dir).valid


def unread_is_wrong(world: World) -> None:
    figure = world.ask(lambda request: "" if request.seed % 2 else "red", world.dataset_dir).figures
    assert figure["detect/accuracy"].n == 96


def answer_alone(world: World) -> None:
    assert world.silent().figures["watermark/neutral/none_rate"].value == 1


# number: (check, module, what stands there, the mistake)
MISTAKES: dict[int, tuple[Callable[[World], None], str, str, str]] = {
    1: (
        exact_tail,
        "compare",
        "at_most + below",
        "float(special.ndtr(-abs(discordant - 2 * fewer) / discordant**0.5))",
    ),
    2: (repeats_by_value, "metrics.quality", "tuple(ids[at : at + n])", "id(ids[at])"),
    3: (
        whole_answer,
        "metrics.evidence",
        "wm_score.evidence(a.answer)",
        "min((wm_score.evidence(a.answer[i:i + 60]) for i in range(0, 90, 5)), key=lambda e: e.red_p)",
    ),
    4: (few_groups, "stats", "special.stdtrit(freedom, (1 + LEVEL) / 2)", "1.96"),
    5: (enough_negatives, "metrics.power", "< 3 / FALSE_POSITIVES", "< 1"),
    6: (
        fractions,
        "metrics.quality",
        "1 - len(set(grams)) / len(grams)",
        "(1 - len(set(grams)) / len(grams)) / 100",
    ),
    7: (threshold_of_the_others, "metrics.power", "if f != half", "if f == half"),
    8: (same_prompts, "items", 'str(row["prompt"])', 'str(row["prompt"]) + arm'),
    9: (
        failures_stay,
        "metrics.success",
        'own = select(answers, "watermark", arm)',
        'own = [a for a in select(answers, "watermark", arm) if a.answer or arm == "neutral"]',
    ),
    10: (judged_one_counts, "metrics.power", "(n + 1)", "n"),
    11: (
        always_on,
        "controls",
        'unseen_groups("test groups unseen in training", data, data.path),',
        '*([unseen_groups("test groups unseen in training", data, data.path)] if trained_with else []),',
    ),
    12: (
        unread_is_wrong,
        "metrics.accuracy",
        'own = select(answers, "detect")',
        'own = [a for a in select(answers, "detect") if a.kind == "ok"]',
    ),
    13: (
        answer_alone,
        "judge",
        "wm_score.score(reply.text)",
        'wm_score.score(item.messages[-1]["content"] + reply.text)',
    ),
}


@pytest.fixture
def world(dataset_dir: Path, own_dataset_dir: Path, run_script: Any) -> World:
    seeds = own_dataset_dir / "seeds"
    (seeds / "train.parquet").write_bytes((seeds / "test.parquet").read_bytes())

    def ask(script: Any, folder: Path) -> EvalReport:
        return run_script(script, data=items.read(folder))

    return World(dataset_dir, own_dataset_dir, ask)


@pytest.mark.parametrize("number", MISTAKES)
def test_the_code_as_it_is_passes_the_check(number: int, world: World) -> None:
    MISTAKES[number][0](world)


@pytest.mark.parametrize("number", MISTAKES)
def test_the_mistake_planted_is_caught(number: int, world: World, planted: Any) -> None:
    check, module, there, mistake = MISTAKES[number]
    with planted(module, there, mistake), pytest.raises(AssertionError):
        check(world)
    check(world)  # and nothing of it is left behind


def test_the_page_of_mistakes_names_each_check() -> None:
    page = (Path(__file__).parents[1] / "docs" / "mistakes.md").read_text(encoding="utf-8")
    for number, (check, *_) in MISTAKES.items():
        assert f"| {number} |" in page
        assert f"`{check.__name__}`" in page
