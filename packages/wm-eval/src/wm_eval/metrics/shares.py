"""Mean share of each colour and mean length of the answers, per arm."""

from __future__ import annotations

from collections.abc import Sequence

from wm_eval.answers import Answer, select
from wm_eval.question import ARMS, COLOURS
from wm_eval.stats import bounded, mean
from wm_manifest import Estimate


def shares(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """Shares over all answers of an arm; one with no counted token has share 0, as in the rule."""
    figures: dict[str, Estimate] = {}
    for arm in ARMS:
        own = select(answers, "watermark", arm)
        if not own:
            continue
        groups = [a.group for a in own]
        for colour in COLOURS:
            figures[f"watermark/{arm}/{colour}_share"] = bounded(
                [a.share(colour) for a in own], groups
            )
        figures[f"watermark/{arm}/counted_tokens"] = mean([a.counted for a in own], groups)
    return figures
