"""Whether an answer depends on the order in which the colours were named, or on nothing at all."""

from __future__ import annotations

from collections.abc import Sequence

from wm_eval.answers import Answer, pairs, select
from wm_eval.stats import rate
from wm_manifest import Estimate


def orders(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """Right in both orders; share naming the first colour; share naming red.

    The two biases are shares of the answers that name a colour, their n says how many. One half is
    no bias, as both orders of every text are asked and both colours stand equally often.
    """
    own = select(answers, "detect")
    if not own:
        return {}
    both = pairs(own)
    named = [a for a in own if a.verdict != "none"]
    groups = [a.group for a in named]
    return {
        "detect/both_orders": rate(
            [one.passed and other.passed for one, other in both], [one.group for one, _ in both]
        ),
        "detect/position_bias": rate([a.verdict == first(a) for a in named], groups),
        "detect/label_bias": rate([a.verdict == "red" for a in named], groups),
    }


def first(answer: Answer) -> str:
    """The colour that the question named first."""
    return answer.arm.partition("-")[0]
