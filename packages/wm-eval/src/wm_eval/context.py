"""Tells prompts that are longer than the model's context. Cuts none."""

from __future__ import annotations

from typing import Any

from torch import nn

from wm_eval.errors import WmEvalError


def check_room(model: Any, needed: int) -> str:
    """A line about a prompt and answer of so many tokens, the longest; "" where there is room.

    Raises `WmEvalError` where the model cannot run beyond its context at all.
    """
    config = model.config.get_text_config(decoder=True)
    room = getattr(config, "max_position_embeddings", None)
    if room is None or needed <= room:
        return ""
    found = f"the longest prompt and its answer take {needed:,} tokens, and the model has {room:,}"
    if learned_positions(model, room):
        raise WmEvalError(
            f"{found} positions; give a smaller max_new_tokens, or a dataset of shorter texts"
        )
    return f"{found} in its context: what it says beyond them may be poor"


def learned_positions(model: Any, room: int) -> bool:
    """Whether each position has a row of its own, as in GPT-2 and OPT: beyond it there is none."""
    return any(
        isinstance(module, nn.Embedding)
        and ("wpe" in name or "position" in name)
        and module.num_embeddings >= room  # those of an image are others
        for name, module in model.named_modules()
    )
