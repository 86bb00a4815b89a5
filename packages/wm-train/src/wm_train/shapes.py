"""What a model is made of, counted without its weights. Downloads nothing."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import yaml

from wm_eval.record import elements
from wm_train import base
from wm_train.config import ModelConfig
from wm_train.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class Shape:
    """Sizes of one model under one mode of training, in numbers of elements."""

    config: PretrainedConfig
    parameters: int  # each once, though a tied head is used twice
    embeddings: int  # of them in input embeddings and head
    trainable: int
    largest: int  # of one layer: what a recomputing backward pass holds
    adapted_head: bool = False  # an adapter on the head: it is computed again backwards

    @property
    def layers(self) -> int:
        return self.config.num_hidden_layers

    @property
    def body(self) -> int:
        """Parameters that every token goes through, the head left out."""
        return self.parameters - self.embeddings


def of(model: ModelConfig) -> Shape:
    """The shape of `model.base` with the adapter that `model.lora` asks for. Downloads nothing."""
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    config = configuration(model.base)
    with torch.device("meta"):
        built = cast(Any, AutoModelForCausalLM).from_config(config)
        if model.lora is not None:
            adapter = base.lora(model.lora, built)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
                built = get_peft_model(built, adapter, autocast_adapter_dtype=False)
    return measured(built)


def measured(model: Any) -> Shape:
    """The shape of a model that is there, its adapter's weights counted as trained ones alone."""
    everything = dict(model.named_parameters())  # a tied head comes once
    adapter = sum(elements(p) for name, p in everything.items() if "lora_" in name)
    ends = {id(e.weight): e.weight for e in _ends(model)}
    layers = [
        sum(elements(p) for p in module.parameters())
        for module in model.modules()
        if type(module).__name__.endswith("DecoderLayer")
    ]
    return Shape(
        config=model.config,
        parameters=sum(elements(p) for p in everything.values()) - adapter,
        embeddings=sum(elements(weight) for weight in ends.values()),
        trainable=sum(elements(p) for p in everything.values() if p.requires_grad),
        largest=max(layers, default=0),
        adapted_head=any(".lm_head.lora_" in name for name in everything),
    )


def _ends(model: Any) -> tuple[Any, Any]:
    return model.get_input_embeddings(), model.get_output_embeddings()


def configuration(name: str) -> PretrainedConfig:
    """The architecture of a base: a known one, the demo's, or that of a folder on this machine."""
    from transformers import AutoConfig

    known = yaml.safe_load((resources.files("wm_train") / "shapes.yaml").read_text("utf-8"))
    auto = cast(Any, AutoConfig)
    if name in known:
        fields = dict(known[name])
        return auto.for_model(fields.pop("model_type"), **fields)
    if name == base.DEMO:
        from wm_train import demo_base

        with TemporaryDirectory() as folder:
            demo_base.build(Path(folder) / "base", seed=0)
            return auto.from_pretrained(str(Path(folder) / "base"))
    if (Path(name) / "config.json").is_file():
        return auto.from_pretrained(name)
    raise ConfigError(
        f"the shape of {name!r} is not known without a download; "
        f"known are {', '.join(sorted(known))}, demo, and any folder with a config.json"
    )
