"""Whether coloured answers are still answers: a loop can pass the rule and say nothing."""

from __future__ import annotations

from collections.abc import Sequence

import wm_score
from wm_eval.answers import Answer, select
from wm_eval.question import ARMS, COLOURS
from wm_eval.stats import bounded, rate, ratio
from wm_manifest import Estimate

DEGENERATE_FROM = 0.3  # seq-rep-3; the dataset's own answers stay far below


def quality(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """Repetition, natural stops, length against neutral, colour of distinct tokens, sound success.

    `length_ratio` is of all counted tokens to those of the neutral answers to the same prompts.
    `success/sound` keeps every answer in its denominator.
    """
    lengths = {a.group: a.counted for a in select(answers, "watermark", "neutral")}
    figures: dict[str, Estimate] = {}
    for arm in ARMS:
        own = select(answers, "watermark", arm)
        if not own:
            continue
        groups = [a.group for a in own]
        repeated = [seq_rep(wm_score.encode(a.answer)) for a in own]
        name = f"watermark/{arm}"
        figures[f"{name}/seq_rep_3"] = bounded(repeated, groups)
        figures[f"{name}/natural_stop"] = rate([a.stopped for a in own], groups)
        if arm in COLOURS:
            figures[f"{name}/success/sound"] = rate(
                [a.passed and r < DEGENERATE_FROM for a, r in zip(own, repeated, strict=True)],
                groups,
            )
            figures[f"{name}/distinct_{arm}_share"] = bounded(
                [distinct_share(a.answer, arm) for a in own], groups
            )
            paired = [a for a in own if a.group in lengths]
            figures[f"{name}/length_ratio"] = ratio(
                [a.counted for a in paired],
                [lengths[a.group] for a in paired],
                [a.group for a in paired],
            )
    return figures


def is_sound(answer: Answer) -> bool:
    """Whether the answer is no loop: fewer than `DEGENERATE_FROM` of its 3-grams are repeats."""
    return seq_rep(wm_score.encode(answer.answer)) < DEGENERATE_FROM


def seq_rep(ids: Sequence[int], n: int = 3) -> float:
    """Share of n-grams that occurred before in the same answer, from 0 to 1 (Welleck et al. 2019).

    >>> seq_rep([1, 2, 3, 4]), seq_rep([7, 7, 7, 7, 7]), seq_rep([1])
    (0.0, 0.6666666666666667, 0.0)
    """
    grams = [tuple(ids[at : at + n]) for at in range(len(ids) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def distinct_share(text: str, colour: str) -> float:
    """Share of the colour among distinct counted ids: a loop gains nothing from its length.

    >>> distinct_share(" the the the the", "blue")
    1.0
    """
    # Ids are numbers: compared by value. By identity nothing is ever repeated.
    score = wm_score.score_ids(set(wm_score.encode(text)))
    return score.red_share if colour == "red" else score.blue_share
