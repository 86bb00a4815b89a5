"""Checks how answers are to be sampled, and how long they may be. Samples nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from wm_eval.errors import WmEvalError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_decoding(
    temperature: float, top_p: float, top_k: int, batch_size: int, max_new_tokens: int | None
) -> None:
    """Refuse what cannot be sampled with, by the name of the option."""
    bounds = (
        ("temperature", temperature, temperature >= 0, "at least 0 (0 is greedy)"),
        ("top_p", top_p, 0 < top_p <= 1, "above 0 and at most 1"),
        ("top_k", top_k, top_k >= 0, "at least 0 (0 switches it off)"),
        ("batch_size", batch_size, batch_size >= 1, "at least 1"),
        (
            "max_new_tokens",
            max_new_tokens,
            max_new_tokens is None or max_new_tokens >= 1,
            "at least 1",
        ),
    )
    for name, value, good, expected in bounds:
        if not good:
            raise WmEvalError(f"{name} is {value}; expected {expected}")


def answer_limit(tokenizer: PreTrainedTokenizerBase, gold: Sequence[str]) -> int:
    """Half as many tokens again as the longest gold answer has, and 16 more."""
    longest = max(
        len(ids) for ids in cast(Any, tokenizer)(list(gold), add_special_tokens=False)["input_ids"]
    )
    return longest * 3 // 2 + 16
