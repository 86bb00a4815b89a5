"""Evaluates how well a model writes and reads the watermark. Trains nothing, builds no dataset.

Names are loaded when they are first used: statistics, samples and reports work without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wm_eval.callback import WatermarkEvalCallback
    from wm_eval.errors import WmEvalError
    from wm_eval.loading import load_model
    from wm_eval.prompting import (
        completion_ids,
        completion_text,
        end_of_turn,
        prompt_ids,
        prompt_text,
    )
    from wm_eval.run import evaluate, evaluate_with
    from wm_eval.together import help_evaluate, leading

__all__ = [
    "WatermarkEvalCallback",
    "WmEvalError",
    "completion_ids",
    "completion_text",
    "end_of_turn",
    "evaluate",
    "evaluate_with",
    "help_evaluate",
    "leading",
    "load_model",
    "prompt_ids",
    "prompt_text",
]

_HOME = {
    "WatermarkEvalCallback": "callback",
    "WmEvalError": "errors",
    "completion_ids": "prompting",
    "completion_text": "prompting",
    "end_of_turn": "prompting",
    "evaluate": "run",
    "evaluate_with": "run",
    "help_evaluate": "together",
    "leading": "together",
    "load_model": "loading",
    "prompt_ids": "prompting",
    "prompt_text": "prompting",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"wm_eval.{_HOME[name]}"), name)
