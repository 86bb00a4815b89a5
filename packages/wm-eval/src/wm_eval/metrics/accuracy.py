"""How often the model names the right colour of a text, read from what it wrote."""

from __future__ import annotations

from collections.abc import Sequence

from wm_eval.answers import Answer, select
from wm_eval.question import COLOURS
from wm_eval.stats import rate
from wm_manifest import Estimate


def accuracy(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """Accuracy over both orders, per colour, and per wording. Unparseable answers are wrong."""
    own = select(answers, "detect")
    if not own:
        return {}
    parts = {
        "detect/accuracy": own,
        **{f"detect/accuracy/{c}": [a for a in own if a.expected == c] for c in COLOURS},
        "detect/accuracy/train_wording": [a for a in own if not a.heldout_wording],
        "detect/accuracy/heldout_wording": [a for a in own if a.heldout_wording],
    }
    figures = {
        name: rate([a.passed for a in part], [a.group for a in part])
        for name, part in parts.items()
    }
    figures["detect/unparseable"] = rate([a.verdict == "none" for a in own], [a.group for a in own])
    return figures
