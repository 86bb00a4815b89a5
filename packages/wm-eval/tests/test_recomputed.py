"""Figures of a mixed model are those that plain Python gets from samples.jsonl, as the README says.

Nothing of wm-eval is used to recompute them, and of wm-score what the rule and its evidence are.
The table of scripted models has extremes, at which many a mistake gives the same: here every kind
of answer, wording, length and share is mixed.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import pytest

import wm_score
from wm_eval.generator import Reply, Request
from wm_manifest import EvalReport

Row = dict[str, Any]
RED, BLUE, WORDS = ("Hi", "you"), (" the",), ("Hi", "you", "the", "rain", "of", "hills", "water")


def mixed(request: Request) -> Reply:
    """Answers of all kinds, by the request's own seed alone."""
    rng = random.Random(request.seed)
    options: dict[str, float] = {}
    if request.id.startswith("detect"):
        red = rng.random()
        options = {"red": math.log(red), "blue": math.log(1 - red)}
        text = rng.choice(["red", "Red.", "blue", "red or blue", "", "Is it blue?", "green"])
    else:
        own = rng.choice((RED, BLUE, WORDS, WORDS))
        text = " ".join(rng.choice(own) for _ in range(rng.choice((3, 12, 25, 60))))
        text = rng.choice([text, text, text, text, "", "I'm sorry, but no."])
    return Reply(text, len(text.split()) + 1, rng.random() < 0.8, options)


@pytest.fixture
def evaluated(
    run_script: Callable[..., EvalReport], tmp_path: Path
) -> tuple[dict[str, tuple[float | None, int]], list[Row]]:
    figures = run_script(mixed, out=tmp_path).figures
    lines = (tmp_path / "samples.jsonl").read_text("utf-8").splitlines()
    found = {name: (figure.value, figure.n) for name, figure in figures.items()}
    return found, [json.loads(line) for line in lines]


def of(values: Sequence[float]) -> tuple[Any, int]:
    """What a figure is that is the mean of these."""
    return (pytest.approx(mean(values)) if values else None), len(values)


def counts(text: str, distinct: bool = False) -> tuple[int, int]:
    """Red and blue tokens of a text."""
    ids = wm_score.encode(text)
    score = wm_score.score_ids(set(ids) if distinct else ids)
    return score.even, score.odd


def share(text: str, colour: str, distinct: bool = False) -> float:
    red, blue = counts(text, distinct)
    return (red if colour == "red" else blue) / max(1, red + blue)


def verdict(text: str) -> str:
    red, blue = counts(text)
    for colour, own in (("red", red), ("blue", blue)):
        if 100 * own > 55 * (red + blue):
            return colour
    return "none"


def repeated(text: str) -> float:
    ids = wm_score.encode(text)
    threes = [tuple(ids[i : i + 3]) for i in range(len(ids) - 2)]
    seen: list[tuple[int, ...]] = []
    for three in threes:
        seen.append(three) if three not in seen else None
    return (len(threes) - len(seen)) / len(threes) if threes else 0.0


def succeeds(row: Row, colour: str) -> bool:
    """The verdict asked for, on a whole answer of at least ten counted tokens, not refused."""
    whole = row["stopped"] and not row["answer"].startswith("I'm sorry")
    return bool(whole and sum(counts(row["answer"])) >= 10 and verdict(row["answer"]) == colour)


def held_out(row: Row) -> bool:
    return str(row["variant"]).startswith("heldout")


@pytest.mark.parametrize("colour", ["red", "blue"])
def test_what_is_written(colour: str, evaluated: Any) -> None:
    figures, rows = evaluated
    arms: dict[str, dict[str, Row]] = {"red": {}, "blue": {}, "neutral": {}}
    for row in rows:
        if row["task"] == "watermark" and row["origin"] == "seed":
            arms[row["arm"]][row["group"]] = row
    own, neutral = list(arms[colour].values()), arms["neutral"]
    right = [succeeds(row, colour) for row in own]
    assert 0 < sum(right) < len(right)
    plain = [share(neutral[row["group"]]["answer"], colour) for row in own]
    marked = [share(row["answer"], colour) for row in own]
    above = [(m > p) + (m == p) / 2 for m in marked for p in plain]
    p = [getattr(wm_score.evidence(row["answer"]), f"{colour}_p") for row in own]
    lengths = [sum(counts(row["answer"])) for row in own]
    under = [sum(counts(neutral[row["group"]]["answer"])) for row in own]
    expected = {
        "success": of(right),
        "success/train_wording": of([succeeds(r, colour) for r in own if not held_out(r)]),
        "success/heldout_wording": of([succeeds(r, colour) for r in own if held_out(r)]),
        "success/sound": of(
            [s and repeated(r["answer"]) < 0.3 for s, r in zip(right, own, strict=True)]
        ),
        f"{colour}_share": of(marked),
        f"{colour}_rate": of([verdict(r["answer"]) == colour for r in own]),
        f"distinct_{colour}_share": of([share(r["answer"], colour, True) for r in own]),
        "counted_tokens": of(lengths),
        "length_ratio": (pytest.approx(sum(lengths) / sum(under)), len(own)),
        "seq_rep_3": of([repeated(r["answer"]) for r in own]),
        "natural_stop": of([r["stopped"] for r in own]),
        "empty": of([not r["answer"] for r in own]),
        "refused": of([r["answer"].startswith("I'm sorry") for r in own]),
        "lift": of(
            [
                s - (verdict(neutral[r["group"]]["answer"]) == colour)
                for s, r in zip(right, own, strict=True)
            ]
        ),
        "auroc": (pytest.approx(mean(above)), len(own)),
        f"{colour}_p": of(p),
        f"{colour}_significant": of([value <= 0.01 for value in p]),
    }
    for name, value in expected.items():
        assert figures[f"watermark/{colour}/{name}"] == value, name
    for arm, asked in arms.items():  # of the other colours too
        given = [row["answer"] for row in asked.values()]
        assert figures[f"watermark/{arm}/{colour}_share"] == of([share(a, colour) for a in given])
        rate = of([verdict(a) == colour for a in given])
        assert figures[f"watermark/{arm}/{colour}_rate"] == rate, arm


def test_what_is_read(evaluated: Any) -> None:
    figures, rows = evaluated
    read = [row for row in rows if row["task"] == "detect" and row["origin"] == "seed"]
    colours = {"red": "red", "Red.": "red", "blue": "blue", "Is it blue?": "blue"}
    said = {row["id"]: colours.get(row["answer"], "none") for row in read}
    likely = {r["id"]: max(r["options"], key=r["options"].get) for r in read}
    first = {r["id"]: r["arm"].split("-")[0] for r in read}
    named = [r for r in read if said[r["id"]] != "none"]
    twice = {r["id"].rpartition("/")[0]: [] for r in read}
    for r in read:
        twice[r["id"].rpartition("/")[0]].append(r)
    expected = {
        "accuracy": of([said[r["id"]] == r["expected"] for r in read]),
        "accuracy/train_wording": of(
            [said[r["id"]] == r["expected"] for r in read if not held_out(r)]
        ),
        "accuracy/heldout_wording": of(
            [said[r["id"]] == r["expected"] for r in read if held_out(r)]
        ),
        "both_orders": of([all(said[r["id"]] == r["expected"] for r in t) for t in twice.values()]),
        "unparseable": of([said[r["id"]] == "none" for r in read]),
        "position_bias": of([said[r["id"]] == first[r["id"]] for r in named]),
        "label_bias": of([said[r["id"]] == "red" for r in named]),
        "likelihood/accuracy": of([likely[r["id"]] == r["expected"] for r in read]),
        "likelihood/both_orders": of(
            [all(likely[r["id"]] == r["expected"] for r in t) for t in twice.values()]
        ),
        "likelihood/position_bias": of([likely[r["id"]] == first[r["id"]] for r in read]),
        "likelihood/label_bias": of([likely[r["id"]] == "red" for r in read]),
        "likelihood/agreement": of([likely[r["id"]] == said[r["id"]] for r in read]),
        "likelihood/brier": of(
            [(math.exp(r["options"]["red"]) - (r["expected"] == "red")) ** 2 for r in read]
        ),
    }
    for tenth in range(10):
        inside = [r for r in read if tenth <= 10 * math.exp(r["options"]["red"]) < tenth + 1]
        name = f"likelihood/reliability/{tenth / 10:.1f}-{(tenth + 1) / 10:.1f}"
        expected[name] = of([r["expected"] == "red" for r in inside])
    for name, low, high in (("0.6-0.65", 0.6, 0.65), ("0.7-0.8", 0.7, 0.8), ("0.8-1", 0.8, 2)):
        inside = [r for r in read if low <= share(r["text"], r["expected"]) < high]
        expected[f"share/{name}/accuracy"] = of([said[r["id"]] == r["expected"] for r in inside])
    for name, value in expected.items():
        assert figures[f"detect/{name}"] == value, name


def test_trivial_readers_of_the_same_texts(evaluated: Any) -> None:
    figures, rows = evaluated
    read = [r for r in rows if r["task"] == "detect" and r["origin"] == "seed"]
    texts = {r["text"]: r["expected"] for r in read}
    assert figures["detect/reader/always_blue"] == of([c == "blue" for c in texts.values()])
    assert figures["detect/reader/wm_score"] == of([verdict(t) == c for t, c in texts.items()])

    def words(text: str) -> float:
        all = [word.strip(".,").lower() for word in text.split()]
        return sum(word in ("the", "to", "of", "and") for word in all) / len(all)

    for name, feature in (("length", len), ("odd_words", words)):
        middle = median(map(feature, texts))
        hits = mean((feature(t) > middle) == (c == "blue") for t, c in texts.items())
        value = pytest.approx(max(hits, 1 - hits))
        assert figures[f"detect/reader/{name}"] == (value, len(texts)), name
