"""Puts back what an evaluation could change in a training; spares memory. Evaluates nothing."""

from __future__ import annotations

import ctypes
import random
import sys
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from wm_eval.kernels import PACKING, without_packing

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


HALF = (torch.bfloat16, torch.float16)


@contextmanager
def all_preserved(models: Iterable[Any], tokenizer: PreTrainedTokenizerBase) -> Generator[None]:
    """`preserved` of those that are torch modules, and not generators of another backend."""
    with ExitStack() as kept:
        for model in models:
            if isinstance(model, torch.nn.Module):
                kept.enter_context(preserved(cast("PreTrainedModel", model), tokenizer))
        yield


def trim_heap() -> None:
    """Give memory that was freed back to the system, where the C library can (glibc).

    It keeps blocks below some MiB for later ones of their size, and a training's are not of the
    sizes of an evaluation's: SmolLM2 held 4.3 GB after twelve steps on a CPU, 2.2 of them free.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def answers_bare(model: Any) -> bool:
    """Whether the model can and should answer without autocast."""
    if getattr(model, "is_loaded_in_4bit", False):
        return False
    return model.device.type == "cpu" or model.dtype in HALF


@contextmanager
def preserved(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Generator[None]:
    """Evaluation mode inside; after it modes, random states, cache flag, padding and the choice of
    attention's kernels as before.

    Modes are put back module by module: `model.train()` would wake a part that was frozen in
    evaluation mode. On a CPU, and where it was loaded in half precision, the model answers as it
    would outside of a training: without the autocast that Accelerate puts around its forward pass.
    On a GPU float32 weights stay under it, or an evaluation would take several times as long, and
    so does a base in four bits, whose norms are float32 and whose head is not. flex_attention,
    which is compiled for each shape, makes way for sdpa: an answer grows by a token a step. Weights
    in four bits stay packed as they are: bitsandbytes would pack them in a way without a gradient.
    """
    trim_heap()
    modules: dict[str, Any] = dict(cast(Any, model).named_modules())
    modes = {name: module.training for name, module in modules.items()}
    packing = {
        n: getattr(module, PACKING) for n, module in modules.items() if hasattr(module, PACKING)
    }
    config: Any = model.config
    use_cache = getattr(config, "use_cache", None)
    attention: str | None = getattr(config, "_attn_implementation", None)
    padding_side = tokenizer.padding_side
    cudnn: bool = torch.backends.cuda.cudnn_sdp_enabled()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    wrapped = vars(model).get("forward")
    own = vars(model).get("_original_forward")  # as Accelerate calls what it wrapped
    bare = own is not None and wrapped is not None and answers_bare(model)
    model.eval()
    without_packing(model)
    if bare:
        cast(Any, model).forward = own
    if attention == "flex_attention":
        config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        if bare:
            cast(Any, model).forward = wrapped
        for name, module in modules.items():
            module.training = modes[name]
        for name, packs in packing.items():
            setattr(modules[name], PACKING, packs)
        if use_cache is not None:
            config.use_cache = use_cache
        if attention is not None:
            config._attn_implementation = attention
        tokenizer.padding_side = padding_side
        torch.backends.cuda.enable_cudnn_sdp(cudnn)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        trim_heap()
