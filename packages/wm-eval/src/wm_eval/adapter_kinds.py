"""What kind an adapter is: whether it can be answered with, and what lies below it. Loads nothing.

Read in PEFT 0.21's source. Both are told from its configuration, a file's or a model's in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wm_eval.errors import WmEvalError

# They put positions before a prompt, which our masks and position ids know nothing of.
PROMPTS = (
    *("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING"),
    *("ADAPTION_PROMPT", "CPT", "CARTRIDGE"),
)
# Beginnings that leave the base's weights alone. Others (pissa, olora, corda, loftq) take from them
# what they put into the adapter, and again when it is loaded; but LoRA-GA only when it is made.
PLAIN = ("gaussian", "eva", "orthogonal", "mica")
REBUILT = ("kasa_config", "layer_replication")  # cut the base's weights, or stack its layers anew


def check_kind(config: Mapping[str, Any], adapter: str) -> None:
    """Raise `WmEvalError` for an adapter that would be answered with wrongly."""
    kind = _kind(config)
    if kind in PROMPTS:
        raise WmEvalError(
            f"{adapter} is {kind}: it learns positions before the prompt, and wm-eval runs none; "
            "give a LoRA, or a merged model"
        )
    if str(config.get("init_lora_weights")).lower() == "lora_ga":
        raise WmEvalError(
            f"{adapter} has init_lora_weights = lora_ga, which changed the base's weights when it "
            "was made, and PEFT does not do so again when it loads it; save it with "
            "path_initial_model_for_weight_conversion, or give a merged model"
        )


def not_its_base(config: Mapping[str, Any]) -> str:
    """Why the weights below an adapter are not the base that it was made for; "" where they are.

    >>> not_its_base({"init_lora_weights": True}), not_its_base({"init_lora_weights": "pissa"})
    ('', 'init_lora_weights = pissa')
    """
    begun, bias = config.get("init_lora_weights"), config.get("bias") or "none"
    if isinstance(begun, str) and begun.lower() not in PLAIN:
        return f"init_lora_weights = {begun}"
    if bias != "none":
        return f"bias = {bias}"
    return next((f"{name} is set" for name in REBUILT if config.get(name)), "")


def configs(model: Any) -> list[dict[str, Any]]:
    """Configurations of the adapters on a model in memory."""
    found: dict[str, Any] = getattr(model, "peft_config", None) or {}
    return [config.to_dict() for config in found.values()]


def _kind(config: Mapping[str, Any]) -> str:
    kind = config.get("peft_type")
    return str(getattr(kind, "value", kind) or "")
