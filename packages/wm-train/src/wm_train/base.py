"""Loads the model to train and wraps it for LoRA. Chooses no hyper-parameters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wm_train.config import LoraConfig, ModelConfig
from wm_train.errors import ConfigError

if TYPE_CHECKING:
    from peft import LoraConfig as PeftLoraConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEMO = "demo"


def load(
    config: ModelConfig, location: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str | None]:
    """Model, tokenizer and the commit that a hub id resolved to (None for a folder).

    `location` is where the base is: `config.base` itself, or the folder of a base built here.
    With bfloat16, full training keeps float32 weights under autocast; a LoRA's frozen base needs
    no such master copy and is loaded in bfloat16.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    half = config.precision == "bfloat16" and config.lora is not None
    try:
        auto_tokenizer, auto_model = cast(Any, AutoTokenizer), cast(Any, AutoModelForCausalLM)
        tokenizer = auto_tokenizer.from_pretrained(location, revision=config.revision)
        model = auto_model.from_pretrained(
            location, revision=config.revision, dtype=torch.bfloat16 if half else torch.float32
        )
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"model.base {location!r} cannot be loaded: {first} "
            "(expected a hub id, or a folder with config.json, weights and tokenizer)"
        ) from error
    if tokenizer.chat_template is None:
        raise ConfigError(
            f"model.base {location!r} has no chat template, and both tasks are chats; "
            "take an instruction-tuned model or add a chat_template.jinja to its folder"
        )
    revision = getattr(model.config, "_commit_hash", None)
    return model, tokenizer, revision


def lora(config: LoraConfig) -> PeftLoraConfig:
    """PEFT's configuration: every linear layer but the head.

    The head stays out: Qwen3 up to 4B ties it to the input embeddings, and a LoRA on a tied head
    merges wrongly.
    """
    from peft import LoraConfig as PeftLoraConfig

    return PeftLoraConfig(
        task_type="CAUSAL_LM",
        r=config.r,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules="all-linear",
        bias="none",
    )


def prepare(config: ModelConfig, run_dir: Path, seed: int) -> str:
    """Where the base is: builds the demo's into `run_dir/base`, leaves any other as named."""
    if config.base != DEMO:
        return config.base
    from wm_train import demo_base

    folder = run_dir / "base"
    if not folder.exists():
        demo_base.build(folder, seed)
    return str(folder)
