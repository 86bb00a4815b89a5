"""QLoRA's base (arXiv 2305.14314): frozen NF4 weights, doubly quantised. Trains nothing."""

from __future__ import annotations

import importlib.util
from typing import Any, Literal

from wm_train.errors import ConfigError


def check() -> None:
    """Raise `ConfigError` where the package that packs weights is not installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            "model.four_bit needs bitsandbytes, which is not installed: uv sync in a clone of wm "
            "installs it, and pip install bitsandbytes elsewhere"
        )


def loading(precision: Literal["float32", "bfloat16"]) -> dict[str, Any]:
    """What `from_pretrained` is to be told. The head and the embeddings are never packed.

    A layer unpacks its weights to `precision` and multiplies in it. All layers are on one device:
    this process's own, which a launcher's other processes have not.
    """
    import torch
    from transformers import BitsAndBytesConfig

    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, precision),
    )
    here = torch.cuda.current_device() if torch.cuda.is_available() else "cpu"
    return {"quantization_config": quantised, "device_map": {"": here}}
