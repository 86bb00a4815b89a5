"""Against the base model: what training added, and how likely it finds the answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wm_eval.answers import Answer, select
from wm_eval.question import ARMS, COLOURS
from wm_eval.stats import bounded, mean, rate
from wm_manifest import Estimate


def base(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """Success of the base model, lift over it, and perplexity of the answers under it.

    The base model was asked the same prompts with the same random numbers. The lift is paired by
    prompt. Perplexity is that of the answer's own tokens given the prompt under the *neutral*
    system prompt, for every arm the same: so the arms differ by what was answered alone. It is
    exp of the mean over answers of the mean negative log-likelihood. Answers without a token, or
    with a likelihood that is no number, have none (n says so). The ratio is to the neutral answer
    of the same prompt.
    """
    figures: dict[str, Estimate] = {}
    neutral = {
        a.group: loss
        for a in select(answers, "watermark", "neutral")
        if (loss := nll(a)) is not None
    }
    for arm in ARMS:
        own = select(answers, "watermark", arm)
        untrained = {a.group: a for a in select(answers, "watermark", arm, origin="base")}
        both = [a for a in own if a.group in untrained]
        name = f"watermark/{arm}"
        if arm in COLOURS and both:
            figures[f"{name}/base_success"] = rate(
                [untrained[a.group].passed for a in both], [a.group for a in both]
            )
            figures[f"{name}/lift_over_base"] = bounded(
                [float(a.passed) - float(untrained[a.group].passed) for a in both],
                [a.group for a in both],
                low=-1.0,
                high=1.0,
            )
        losses = [(loss, a.group) for a in own if (loss := nll(a)) is not None]
        if losses:
            figures[f"{name}/base_ppl"] = exponential(losses)
        paired = [(loss - neutral[g], g) for loss, g in losses if g in neutral]
        if arm in COLOURS and paired:
            figures[f"{name}/base_ppl_ratio"] = exponential(paired)
    return figures


def nll(answer: Answer) -> float | None:
    """Mean negative log-likelihood of a token under the base model; None where it was not asked."""
    tokens = answer.base.get("tokens", 0.0)
    value = -answer.base["log_likelihood"] / tokens if tokens else math.nan
    return value if math.isfinite(value) else None


def exponential(values: Sequence[tuple[float, str]]) -> Estimate:
    """exp of the mean of (value, group), and of the ends of its interval."""
    found = mean([value for value, _ in values], [group for _, group in values])
    ends = {
        end: None if (at := getattr(found, end)) is None else math.exp(min(at, 700.0))
        for end in ("value", "low", "high")
    }
    return found.model_copy(update=ends)
