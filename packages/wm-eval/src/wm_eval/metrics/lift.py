"""What asking for a colour adds: success less what the same prompts give under no codebook."""

from __future__ import annotations

from collections.abc import Sequence

from wm_eval.answers import Answer, select
from wm_eval.question import COLOURS
from wm_eval.stats import bounded
from wm_manifest import Estimate


def lift(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """Per colour, paired by prompt: the difference of success and of the neutral arm's verdict.

    English leans blue by itself, so the colours are never pooled. The neutral side is the rule's
    verdict alone, cut answers included: a low token limit can lower the lift and never raise it.
    """
    neutral = {a.group: a for a in select(answers, "watermark", "neutral")}
    figures: dict[str, Estimate] = {}
    for colour in COLOURS:
        own = [a for a in select(answers, "watermark", colour) if a.group in neutral]
        if own:
            figures[f"watermark/{colour}/lift"] = bounded(
                [float(a.passed) - float(neutral[a.group].verdict == colour) for a in own],
                [a.group for a in own],
                low=-1.0,
                high=1.0,
            )
    return figures
