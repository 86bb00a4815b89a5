"""Drops training rows whose answers repeat themselves: a model that learns loops writes loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import wm_score
from wm_data.audit import Measured
from wm_data.progress import tracked
from wm_data.recipe import RepetitionRules

REASON = "repeats itself"


def drop_loops(
    train: Sequence[Measured], rules: RepetitionRules, progress: bool = False
) -> tuple[list[Measured], list[Measured]]:
    """Training rows with sound answers, and the others. Held-out rows are not asked.

    Their prompts are those that loops come from: without them the test would be easier.
    """
    kept: list[Measured] = []
    dropped: list[Measured] = []
    for item in tracked(train, "looking for loops", progress, len(train)):
        answers = (item.row.red_answer, item.row.blue_answer)
        if max(map(repetition, answers)) >= rules.threshold:
            dropped.append(replace(item, reason=REASON))
        else:
            kept.append(item)
    return kept, dropped


def repetition(text: str) -> float:
    """Share of runs of three tokens that stood earlier in the text, from 0 to 1.

    Over Qwen3's tokens: what wm-eval calls `seq_rep_3` (Welleck et al. 2019, arXiv 1908.04319).

    >>> round(repetition("on and on and on and on"), 2), repetition("on and off")
    (0.4, 0.0)
    """
    ids = wm_score.encode(text)
    runs = list(zip(ids, ids[1:], ids[2:], strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
