"""What vLLM takes of a LoRA adapter, and what it is told of one. Starts no engine.

vLLM 0.33 looks at the names of an adapter's kinds of layers alone. Of one for another model it puts
on what it finds a place for: in half, or a narrower matrix into a corner, without a word.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

from wm_eval.adapter_kinds import PLAIN
from wm_eval.adapters import adapter_config, weight_names, with_adapter
from wm_eval.errors import WmEvalError, short
from wm_eval.loading import load_config

INSTEAD = (
    "merge it (wm-publish RUN --merge --dry-run writes RUN/merged) and give the merged folder as "
    "--model, or use --backend hf"
)
REFUSED = (  # of adapter_config.json, when they are set
    *("modules_to_save", "use_dora", "lora_bias", "trainable_token_indices"),
    *("alora_invocation_tokens", "layer_replication", "use_bdlora", "use_qalora"),
)
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that it takes as max_lora_rank
HEAD, EXPERTS = "lm_head", "experts"
MATRICES = (".lora_A.weight", ".lora_B.weight", ".lora_embedding_A", ".lora_embedding_B")
COPY = ".embed_tokens.base_layer.weight"  # of the base, which PEFT may save beside its matrices


def adapter_options(
    model: str, adapter: str, revision: str | None = None, adapter_revision: str | None = None
) -> dict[str, Any]:
    """The engine's options for an adapter that fits the model and that vLLM takes whole."""
    config = adapter_config(adapter, model, adapter_revision)
    check_config(config, adapter)
    check_fit(model, adapter, revision, adapter_revision)
    names = weight_names(adapter, adapter_revision)
    check_weights(names, adapter)
    return {
        "enable_lora": True,
        "max_lora_rank": vllm_rank(config),
        # Without it vLLM makes the head ready for an adapter too, and then reads beyond what it
        # knows of a step's rows when it computes the log-probabilities of a prompt.
        "lora_target_modules": layers(names),
    }


def check_config(config: Mapping[str, Any], adapter: str) -> None:
    """Refuse what vLLM refuses only when the model is loaded and the first prompt is asked."""
    found = {name: config[name] for name in REFUSED if config.get(name)}
    if config.get("peft_type", "LORA") != "LORA":
        found["peft_type"] = config["peft_type"]
    if config.get("bias", "none") != "none":
        found["bias"] = config["bias"]
    begun = config.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower() not in PLAIN:
        found["init_lora_weights"] = begun
    if found:
        what = ", ".join(f"{name} = {value}" for name, value in found.items())
        raise WmEvalError(f"the adapter {adapter} has {what}, and vLLM takes no such; {INSTEAD}")


def check_fit(
    model: str, adapter: str, revision: str | None = None, adapter_revision: str | None = None
) -> None:
    """Put the adapter on the model's layers without their weights: names and shapes must fit."""
    import torch
    from transformers import AutoModelForCausalLM

    config = load_config(model, revision)
    try:
        with torch.device("meta"):
            empty: Any = cast(Any, AutoModelForCausalLM).from_config(config)
    except (ValueError, KeyError, RuntimeError) as error:
        raise WmEvalError(f"{model} is no causal model that is known: {short(error)}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of each weight: copied to where nothing is kept
        with_adapter(empty, model, adapter, adapter_revision)


def check_weights(names: Sequence[str], adapter: str) -> None:
    """Refuse an adapter on the head, whose log-probabilities of a prompt vLLM gets wrong.

    vLLM 0.33 maps rows of logits to adapters once a step, for the positions that it samples at. The
    logits of a prompt's positions are made under the same map: but for the first few rows without
    the adapter, and without a word of it.
    """
    head = [name for name in names if HEAD in name.split(".")]
    if head:
        raise WmEvalError(
            f"the adapter {adapter} is on {HEAD} too, and vLLM's log-probabilities of a prompt "
            f"lack that part; {INSTEAD}"
        )
    strange = [name for name in names if not name.endswith((*MATRICES, COPY))]
    if strange:
        raise WmEvalError(
            f"the adapter {adapter} has more than matrices of LoRA ({strange[0]}), and vLLM takes "
            f"nothing else; {INSTEAD}"
        )


def layers(names: Sequence[str]) -> list[str]:
    """Kinds of layers that tensors of an adapter are on. A mixture's experts are one to vLLM.

    >>> layers(["model.layers.0.mlp.up_proj.lora_A.weight", "model.embed_tokens.lora_embedding_A"])
    ['embed_tokens', 'up_proj']
    """
    paths = [name.partition(".lora_")[0].split(".") for name in names if ".lora_" in name]
    return sorted({EXPERTS if EXPERTS in path else path[-1] for path in paths})


def vllm_rank(config: Mapping[str, Any]) -> int:
    """The smallest of vLLM's ranks that holds an adapter's, in whichever layer that is largest.

    >>> vllm_rank({"r": 16}), vllm_rank({"r": 16, "rank_pattern": {"q_proj": 20}})
    (16, 32)
    """
    patterns = cast("dict[str, int]", config.get("rank_pattern") or {})
    rank = max([int(config.get("r") or 0), *patterns.values()])
    fitting = [known for known in RANKS if known >= rank]
    if not fitting:
        raise WmEvalError(f"the adapter has rank {rank}; vLLM takes at most {RANKS[-1]}")
    return fitting[0]
