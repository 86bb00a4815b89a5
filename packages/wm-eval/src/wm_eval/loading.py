"""Makes ready what an evaluation needs: model, tokenizer, folder. Evaluates nothing.

Local folders and hub ids alike. Every way in which the parts do not fit together is an error with
the two sides in it: a wrong base answers fluently and scores badly.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wm_eval.adapters import CONFIG, adapter_config, with_adapter
from wm_eval.errors import WmEvalError, short

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("auto", "float32", "bfloat16", "float16")


def load_model(
    location: str | Path,
    adapter: str | Path | None = None,
    dtype: str = "auto",
    device: str | None = None,
    revision: str | None = None,
    adapter_revision: str | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in evaluation mode and its tokenizer. Raises `WmEvalError`.

    `device=None` takes the GPU when there is one. `dtype="auto"` keeps what was saved, except on a
    CPU, where half precision is slow and is widened to float32. Revisions (a branch, tag or commit)
    are of hub ids alone: a folder has none.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    location = str(location)
    check_asked(location, adapter, dtype, revision, adapter_revision)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    _check_device(device)
    wanted: Any = "auto" if dtype == "auto" else getattr(torch, dtype)
    if dtype == "auto" and device == "cpu":
        wanted = torch.float32
    tokenizer = load_tokenizer(location, revision)
    try:
        model, told = cast(Any, AutoModelForCausalLM).from_pretrained(
            location, dtype=wanted, revision=revision, output_loading_info=True
        )
    # ImportError: what a quantised model needs is not installed, and the message names it.
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise WmEvalError(
            f"{location} cannot be loaded as a causal model: {short(error)}"
        ) from error
    if absent := sorted(told["missing_keys"]):  # transformers fills them with random numbers
        raise WmEvalError(
            f"{location} has no weights for {len(absent)} of the model's tensors ({absent[0]}); "
            "is a file of it missing, or its config.json another model's?"
        )
    if getattr(model, "_hf_peft_config_loaded", False):  # transformers puts it on its base unasked
        raise WmEvalError(_adapter_as_model(location))
    if adapter is not None:
        model = with_adapter(model, location, str(adapter), adapter_revision)
    try:
        placed = model.to(device).eval()
    except RuntimeError as error:  # the device's memory is too small, or taken
        raise WmEvalError(f"{location} cannot be put on {device}: {short(error)}") from error
    return cast("PreTrainedModel", placed), tokenizer


def check_asked(
    location: str,
    adapter: str | Path | None,
    dtype: str,
    revision: str | None,
    adapter_revision: str | None,
) -> None:
    """Refuse what cannot be meant, before anything is loaded."""
    if dtype not in DTYPES:
        raise WmEvalError(f"dtype {dtype!r} is not known; choose one of {', '.join(DTYPES)}")
    check_model(location)
    check_revision("--revision", revision, location)
    check_revision("--adapter-revision", adapter_revision, adapter)
    if adapter is not None:
        adapter_config(str(adapter), location, adapter_revision)


def load_tokenizer(location: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder or hub id."""
    from transformers import AutoTokenizer

    check_model(location)
    try:
        return cast(Any, AutoTokenizer).from_pretrained(location, revision=revision)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        if _adapter_of_the_hub(location, revision):
            raise WmEvalError(_adapter_as_model(location)) from error
        raise WmEvalError(f"{location} has no tokenizer that loads: {short(error)}") from error


def load_config(location: str, revision: str | None = None) -> Any:
    """The configuration of a model folder or hub id."""
    from transformers import AutoConfig

    try:
        return cast(Any, AutoConfig).from_pretrained(location, revision=revision)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise WmEvalError(f"{location} has no config.json that loads: {short(error)}") from error


def output_folder(out: Path) -> None:
    """Make the folder, so that one that cannot be is refused before any work is done."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WmEvalError(
            f"--out {out} cannot be made a folder ({error.strerror}); give one that can be written"
        ) from error


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter when torch is built without CUDA
        raise WmEvalError(
            f"--device {device} cannot be used: {short(error)}; give cpu, or leave --device out"
        ) from error


def check_model(location: str) -> None:
    """Refuse a folder that is no model, and a path that is not there."""
    folder = Path(location)
    if (folder / CONFIG).is_file() and not (folder / "config.json").is_file():
        raise WmEvalError(_adapter_as_model(location))
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise WmEvalError(
            f"{location} has no config.json: it is no Hugging Face model folder; "
            + (_in_run(folder) or "a run's model is in RUN/model")
        )
    if not folder.exists() and (location.startswith((".", "/", "~")) or location.count("/") > 1):
        beside = _in_run(folder.parent) if folder.name == "model" else ""
        raise WmEvalError(
            f"{location} does not exist; "
            + (beside or "give a model folder or a hub id (owner/name)")
        )


def _in_run(run: Path) -> str:
    """What of a run's folder is to be given; "" of any other folder."""
    if (run / "model" / "config.json").is_file():
        return f"give --model {run / 'model'}"
    if (run / "adapter" / CONFIG).is_file():
        return f"give --adapter {run / 'adapter'}, and as --model the base that it was made for"
    return ""


def _adapter_as_model(location: str) -> str:
    return (
        f"{location} is an adapter and not a model; give its base model as the model and this "
        "with --adapter"
    )


def _adapter_of_the_hub(location: str, revision: str | None) -> bool:
    from huggingface_hub import HfApi

    api: Any = HfApi()
    try:
        return not Path(location).exists() and api.file_exists(
            location, "adapter_config.json", revision=revision
        )
    except Exception:  # no such repository, no network: what failed before says more
        return False


def check_revision(option: str, revision: str | None, location: str | Path | None) -> None:
    """A revision of a folder would be taken for granted and change nothing."""
    if revision is not None and (location is None or Path(location).is_dir()):
        raise WmEvalError(
            f"{option} {revision} is of a hub id, and {location or 'none'} was given; leave it out"
        )


def check_same_tokens(tokenizer: Any, other: Any, base: str) -> None:
    """Refuse a base model that reads other ids for the same text: its figures would be noise."""
    if tokenizer.get_vocab() != other.get_vocab():
        raise WmEvalError(
            f"--base {base} has another vocabulary than the model; give the model that it was "
            "trained from"
        )
