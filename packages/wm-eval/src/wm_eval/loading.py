"""Makes ready what an evaluation needs: model, tokenizer, adapter, folder. Evaluates nothing.

Local folders and hub ids alike. Every way in which the parts do not fit together is an error with
the two sides in it: a wrong base answers fluently and scores badly.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wm_eval.errors import WmEvalError

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
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if dtype not in DTYPES:
        raise WmEvalError(f"dtype {dtype!r} is not known; choose one of {', '.join(DTYPES)}")
    location = str(location)
    _check_model(location)
    _check_revision("--revision", revision, location)
    _check_revision("--adapter-revision", adapter_revision, adapter)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    _check_device(device)
    wanted: Any = "auto" if dtype == "auto" else getattr(torch, dtype)
    if dtype == "auto" and device == "cpu":
        wanted = torch.float32
    try:
        tokenizer: Any = cast(Any, AutoTokenizer).from_pretrained(location, revision=revision)
        model: Any = cast(Any, AutoModelForCausalLM).from_pretrained(
            location, dtype=wanted, revision=revision
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise WmEvalError(
            f"{location} cannot be loaded as a causal model: {_short(error)}"
        ) from error
    if adapter is not None:
        model = _with_adapter(model, location, str(adapter), adapter_revision)
    try:
        placed = model.to(device).eval()
    except RuntimeError as error:  # the device's memory is too small, or taken
        raise WmEvalError(f"{location} cannot be put on {device}: {_short(error)}") from error
    return cast("PreTrainedModel", placed), tokenizer


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
            f"--device {device} cannot be used: {_short(error)}; give cpu, or leave --device out"
        ) from error


def _check_model(location: str) -> None:
    folder = Path(location)
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise WmEvalError(
            f"{location} is an adapter and not a model; give its base model as the model "
            f"and this folder with --adapter"
        )
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise WmEvalError(
            f"{location} has no config.json: it is no Hugging Face model folder "
            "(a run's model is in RUN/model)"
        )
    if not folder.exists() and (location.startswith((".", "/", "~")) or location.count("/") > 1):
        raise WmEvalError(
            f"{location} does not exist; give a model folder or a hub id (owner/name)"
        )


def _with_adapter(model: Any, location: str, adapter: str, revision: str | None = None) -> Any:
    """The model with the adapter on it, if it was made for this model."""
    from peft import PeftModel
    from safetensors import SafetensorError

    config = _adapter_config(adapter, revision)
    _check_base(config, location, adapter)
    try:
        adapted: Any = PeftModel.from_pretrained(model, adapter, revision=revision)
    except (RuntimeError, ValueError, OSError, KeyError, SafetensorError) as error:
        raise WmEvalError(
            f"the adapter {adapter} does not fit the model {location}; it was made for "
            f"{config.get('base_model_name_or_path')}: {_short(error)}"
        ) from error
    return adapted


def _adapter_config(adapter: str, revision: str | None = None) -> dict[str, Any]:
    folder = Path(adapter)
    if not folder.is_dir():
        if adapter.startswith((".", "/", "~")) or adapter.count("/") != 1:
            raise WmEvalError(f"adapter {adapter} does not exist; give a folder or a hub id")
        import huggingface_hub

        try:
            hub: Any = huggingface_hub
            path = Path(hub.hf_hub_download(adapter, "adapter_config.json", revision=revision))
        except (
            Exception
        ) as error:  # the hub's client has a dozen of its own, and those of its transport
            raise WmEvalError(
                f"adapter {adapter} cannot be read from the hub: {_short(error)}"
            ) from error
        return cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
    if not (folder / "adapter_config.json").is_file():
        merged = (folder / "config.json").is_file()
        raise WmEvalError(
            f"{adapter} is a whole model and no adapter; give it as the model, without --adapter"
            if merged
            else f"{adapter} has no adapter_config.json: it is no adapter folder"
        )
    if not any((folder / f"adapter_model.{kind}").is_file() for kind in ("safetensors", "bin")):
        raise WmEvalError(
            f"{adapter} has no adapter_model.safetensors; was its saving interrupted?"
        )
    try:
        return cast(
            "dict[str, Any]", json.loads((folder / "adapter_config.json").read_text("utf-8"))
        )
    except ValueError as error:
        raise WmEvalError(f"{adapter}/adapter_config.json is not JSON: {error}") from error


def _check_revision(option: str, revision: str | None, location: str | Path | None) -> None:
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


def _check_base(config: dict[str, Any], location: str, adapter: str) -> None:
    """Refuse another base by name. Two local paths may be one moved folder: shapes decide there."""
    made_for = str(config.get("base_model_name_or_path") or "")
    local = Path(location).is_dir() or Path(made_for).is_absolute() or made_for.count("/") != 1
    if made_for and not local and made_for != location:
        raise WmEvalError(
            f"the adapter {adapter} was made for {made_for}, not for {location}; "
            f"give --model {made_for}"
        )


def _short(error: BaseException) -> str:
    """The first line that says something: torch and the hub write whole pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__
