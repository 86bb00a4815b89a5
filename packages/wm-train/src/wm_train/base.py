"""Loads the model to train and wraps it for LoRA. Chooses no hyper-parameters."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wm_manifest import ModelRef
from wm_train.config import LoraConfig, ModelConfig
from wm_train.errors import ConfigError

if TYPE_CHECKING:
    from peft import LoraConfig as PeftLoraConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

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
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.hub import resolve_revision

    # Once for both, or the repository may move between them; its models no longer tell theirs.
    resolved = resolve_revision(location, config.revision)
    half = config.precision == "bfloat16" and config.lora is not None
    try:
        auto_tokenizer, auto_model = cast(Any, AutoTokenizer), cast(Any, AutoModelForCausalLM)
        tokenizer = auto_tokenizer.from_pretrained(location, revision=resolved)
        model = auto_model.from_pretrained(
            location, revision=resolved, dtype=torch.bfloat16 if half else torch.float32
        )
    except (OSError, ValueError, SafetensorError) as error:
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
    return model, tokenizer, getattr(resolved, "resolved", None)


def reference(
    model: PreTrainedModel, location: str, revision: str | None, run_dir: Path
) -> ModelRef:
    """The base for the manifest; a base inside the run folder by its path from there."""
    inside = Path(location).is_relative_to(run_dir)
    return ModelRef(
        location=Path(location).relative_to(run_dir).as_posix() if inside else location,
        revision=revision,
        model_type=model.config.model_type,
        parameters=model.num_parameters(),
    )


def license_of(location: str) -> str | None:
    """The licence that a model's own card names, in its folder or on the hub; None without one."""
    from huggingface_hub import ModelCard
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    card = Path(location) / "README.md"
    try:
        if Path(location).is_dir():
            found = ModelCard.load(card) if card.is_file() else None
        else:
            found = ModelCard.load(location)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        log.warning("the card of %s cannot be read, its licence is unknown: %s", location, error)
        return None
    data: Any = found.data if found else None
    return data.license if data else None


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
