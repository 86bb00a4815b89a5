"""The detect task read from log-probabilities of the two words instead of from what was written."""

from __future__ import annotations

from collections.abc import Sequence

from wm_eval.answers import Answer, pairs, select
from wm_eval.metrics.orders import first
from wm_eval.question import COLOURS
from wm_eval.stats import rate
from wm_manifest import Estimate


def likelihood(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """Accuracy, both orders, biases, and agreement with the written answer (of all answers)."""
    own = [a for a in select(answers, "detect") if a.options]
    if not own:
        return {}
    groups = [a.group for a in own]
    both = pairs(own)
    return {
        "detect/likelihood/accuracy": rate([likely_right(a) for a in own], groups),
        "detect/likelihood/both_orders": rate(
            [all(map(likely_right, pair)) for pair in both],
            [one.group for one, _ in both],
        ),
        "detect/likelihood/position_bias": rate([likelier(a) == first(a) for a in own], groups),
        "detect/likelihood/label_bias": rate([likelier(a) == "red" for a in own], groups),
        "detect/likelihood/agreement": rate([likelier(a) == a.verdict for a in own], groups),
        # Wrong in all of the above. In bfloat16 two logits of 16 to 32 are equal or 0.125 apart.
        "detect/likelihood/ties": rate([likelier(a) == "none" for a in own], groups),
    }


def likelier(answer: Answer) -> str:
    """The word with the higher log-probability; "none" when neither has it: a tie, or NaN."""
    red, blue = (answer.options[colour] for colour in COLOURS)
    return "red" if red > blue else "blue" if blue > red else "none"


def likely_right(answer: Answer) -> bool:
    """Whether the likelier word is the right one."""
    return likelier(answer) == answer.expected
