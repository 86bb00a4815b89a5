"""Loads the model to train and wraps it for LoRA. Chooses no hyper-parameters."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import wm_data
from wm_eval.kernels import without_packing
from wm_manifest import ModelRef
from wm_train import four_bit, processes
from wm_train.attention import FLEX
from wm_train.config import LoraConfig, ModelConfig
from wm_train.data import link_or_copy
from wm_train.errors import ConfigError, first_line
from wm_train.redact import redact

if TYPE_CHECKING:
    from peft import LoraConfig as PeftLoraConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

DEMO = "demo"
SMOLLM2 = "smollm2-135m"
BUILT = (DEMO, SMOLLM2)  # here, in the run's folder
ALL_LINEAR = "all-linear"


def check(config: ModelConfig) -> None:
    """Raise `ConfigError` for what cannot be loaded here, before a dataset is built for it.

    Whether the hub has a base is not asked.
    """
    import torch

    if config.sharded and processes.number() == 1:
        raise ConfigError(
            "model.sharded divides the weights over several processes, and there is one; start "
            "them with a launcher (accelerate launch --num_processes 8 -m wm_train ...) or set it "
            "to false"
        )

    if config.attention == FLEX and not torch.cuda.is_available():
        raise ConfigError(
            f"model.attention {FLEX} needs a CUDA device, and there is none; take sdpa"
        )
    if config.four_bit:
        four_bit.check()
    place = Path(config.base)
    path_like = config.base.startswith((".", "/", "~")) or config.base.count("/") != 1
    if config.base not in BUILT and not place.is_dir() and (path_like or place.exists()):
        raise ConfigError(
            f"model.base {config.base!r} cannot be loaded: it is no folder here, no hub id "
            f"(user/name), and none of those that are built here ({', '.join(BUILT)})"
        )


def load(
    config: ModelConfig, location: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str | None]:
    """Model, tokenizer and the commit that a hub id resolved to (None for a folder).

    `location` is where the base is: `config.base` itself, or the folder of a base built here.
    With bfloat16, full training keeps float32 weights under autocast; a LoRA's frozen base needs
    no such master copy and is loaded in bfloat16. On a CPU it stays in float32: there the products
    of a training step are twice as fast in bfloat16, and attention to a cache is slower. Of a
    sharded model each process loads its part, all of them at the same time.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import hub

    from wm_train import sharded

    # Once for both, or the repository may move between them; its models no longer tell theirs.
    resolved: Any = cast(Any, hub).resolve_revision(location, config.revision)
    half = config.precision == "bfloat16" and config.lora is not None and torch.cuda.is_available()
    try:
        auto_tokenizer, auto_model = cast(Any, AutoTokenizer), cast(Any, AutoModelForCausalLM)
        tokenizer = auto_tokenizer.from_pretrained(location, revision=resolved)
        model, told = auto_model.from_pretrained(
            location,
            revision=resolved,
            output_loading_info=True,
            dtype=torch.bfloat16 if half else torch.float32,
            attn_implementation=config.attention,
            **(four_bit.loading(config.precision) if config.four_bit else {}),
            **sharded.loading(config),
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(
            f"model.base {location!r} cannot be loaded: {first_line(error)} "
            "(expected a hub id, or a folder with config.json, weights and tokenizer)"
        ) from error
    if absent := sorted(told["missing_keys"]):  # transformers fills them with random numbers
        raise ConfigError(
            f"model.base {location!r} has no weights for {len(absent)} of its tensors "
            f"({absent[0]}); is a file of it missing, or its config.json another model's?"
        )
    if config.four_bit:
        without_packing(model)
    if tokenizer.chat_template is None:
        raise ConfigError(
            f"model.base {location!r} has no chat template, and both tasks are chats; "
            "take an instruction-tuned model or add a chat_template.jinja to its folder"
        )
    return model, tokenizer, getattr(resolved, "resolved", None)


def pinned(config: ModelConfig, recorded: ModelRef) -> ModelConfig:
    """The configuration at the commit that a run began with: a branch of the hub moves on."""
    if recorded.revision is None:
        return config
    return config.model_copy(update={"revision": recorded.revision})


def at_commit(config: ModelConfig, location: str) -> ModelConfig:
    """The configuration at the commit that its revision names now, for all processes to load."""
    from transformers.utils import hub

    resolved: Any = cast(Any, hub).resolve_revision(location, config.revision)
    commit = getattr(resolved, "resolved", None)
    return config.model_copy(update={"revision": commit}) if commit else config


def reference(
    model: PreTrainedModel, location: str, revision: str | None, run_dir: Path
) -> ModelRef:
    """The base for the manifest; a base inside the run folder by its path from there."""
    inside = Path(location).is_relative_to(run_dir)
    return ModelRef(
        location=Path(location).relative_to(run_dir).as_posix() if inside else redact(location),
        revision=revision,
        model_type=model.config.model_type,
        parameters=model.num_parameters(),
    )


def trained(base: ModelRef, run: str, output: str) -> ModelRef:
    """What a run trains, for its evaluations: under the base's name it passed for the base."""
    if output == "adapter":
        return base.model_copy(update={"adapter": run})
    return base.model_copy(update={"location": run, "revision": None})


def license_of(location: str) -> str | None:
    """The licence that a model's own card names, in its folder or on the hub; None without one.

    Several stand beside each other, with commas. Of terms that the hub has no name for, which it
    calls `other`, the name that the card gives them.
    """
    from huggingface_hub import ModelCard
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from yaml import YAMLError

    card = Path(location) / "README.md"
    try:
        if Path(location).is_dir():
            found = ModelCard.load(card) if card.is_file() else None
        else:
            found = ModelCard.load(location)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError, YAMLError) as error:
        log.warning("the card of %s cannot be read, its licence is unknown: %s", location, error)
        return None
    data: Any = found.data if found else None
    named = data.license if data else None
    if named == "other":
        named = data.license_name or named
    return ", ".join(map(str, cast("list[Any]", named))) if isinstance(named, list) else named


def lora(config: LoraConfig, model: PreTrainedModel) -> PeftLoraConfig:
    """PEFT's configuration; `all-linear` is every linear layer of `model` but the head."""
    from peft import LoraConfig as PeftLoraConfig

    return PeftLoraConfig(
        task_type="CAUSAL_LM",
        r=config.r,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=_targets(config.targets, model),
        bias="none",
    )


def _targets(named: list[str], model: Any) -> str | list[str]:
    """PEFT knows `all-linear` alone; beside other names it stands for the layers that it means.

    Raises `ConfigError` for a name that no layer has: PEFT passes over it where another fits.
    """
    from torch import nn

    if named == [ALL_LINEAR]:
        return ALL_LINEAR
    head = model.get_output_embeddings()
    modules: dict[str, nn.Module] = dict(model.named_modules())
    linear = [
        n for n, module in modules.items() if isinstance(module, nn.Linear) and module is not head
    ]
    meant = sorted({name.rpartition(".")[2] for name in linear})
    for target in named:
        there = target != "" and any(f".{m}".endswith(f".{target}") for m in modules)
        if target != ALL_LINEAR and not there:
            known = ", ".join([ALL_LINEAR, *meant, "lm_head", "embed_tokens"])
            raise ConfigError(
                f"model.lora.targets has {target!r}, and no layer is called so; there are: {known}"
            )
    return [t for name in named for t in (meant if name == ALL_LINEAR else [name])]


def prepare(config: ModelConfig, run_dir: Path, seed: int) -> str:
    """Where the base is: those that are made here in `run_dir/base`, any other as it is named."""
    if config.base not in BUILT:
        return config.base
    folder = run_dir / "base"
    if folder.exists():
        return str(folder)
    if config.base == SMOLLM2:
        made = wm_data.smollm2_135m()  # once a machine: half a minute, 540 MB
        shutil.copytree(made, folder, copy_function=link_or_copy)
    else:
        from wm_train import demo_base

        demo_base.build(folder, seed)
    return str(folder)
