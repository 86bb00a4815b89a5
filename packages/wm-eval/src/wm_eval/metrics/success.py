"""How often an arm earns its colour, what the rule says of every arm, and how answers fail."""

from __future__ import annotations

from collections.abc import Sequence

from wm_eval.answers import Answer, select
from wm_eval.question import ARMS, COLOURS
from wm_eval.stats import rate
from wm_manifest import Estimate

VERDICTS = ("red", "blue", "none")
FAILURES = ("empty", "refused", "truncated", "short")


def success(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """Per arm: success, the rule's verdicts alone, failures by kind.

    Success is the arm's verdict on a whole answer. Every answer stays in the denominator: an empty
    one is a failure and not a smaller n.
    """
    figures: dict[str, Estimate] = {}
    for arm in ARMS:
        own = select(answers, "watermark", arm)
        if not own:
            continue
        groups = [a.group for a in own]
        if arm in COLOURS:
            figures[f"watermark/{arm}/success"] = rate([a.passed for a in own], groups)
            for name, heldout in (("train_wording", False), ("heldout_wording", True)):
                part = [a for a in own if a.heldout_wording == heldout]
                figures[f"watermark/{arm}/success/{name}"] = rate(
                    [a.passed for a in part], [a.group for a in part]
                )
        for verdict in VERDICTS:
            figures[f"watermark/{arm}/{verdict}_rate"] = rate(
                [a.verdict == verdict for a in own], groups
            )
        for kind in FAILURES:
            figures[f"watermark/{arm}/{kind}"] = rate([a.kind == kind for a in own], groups)
    return figures
