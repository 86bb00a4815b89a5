"""Puts a LoRA adapter on a model, and refuses one that was made for another. Folders and hub ids.

PEFT puts on what fits and only warns of the rest: an adapter of a deeper model would be evaluated
in half, and look like a weak one.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from wm_eval.adapter_kinds import check_kind, not_its_base
from wm_eval.errors import WmEvalError, short
from wm_eval.same_base import warn_of_other_base

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PICKLE = "adapter_model.bin"
SAID_OTHERWISE = (  # warnings of PEFT's
    "Model has `tie_word_embeddings=True`",  # concerns those who merge, and nothing is merged here
    "Found missing adapter keys",  # an error here
    ".*is_gradient_checkpointing",  # its own use of transformers
)


def with_adapter(model: Any, location: str, adapter: str, revision: str | None = None) -> Any:
    """The model with the adapter on it, if it was made for this model."""
    from peft import PeftModel
    from safetensors import SafetensorError

    config = adapter_config(adapter, location, revision)
    made_for = config.get("base_model_name_or_path")
    try:
        with warnings.catch_warnings():
            for message in SAID_OTHERWISE:
                warnings.filterwarnings("ignore", message=message)
            adapted: Any = PeftModel.from_pretrained(
                model,
                adapter,
                revision=revision,
                torch_device="cpu",  # where the model is; PEFT would start the GPU for it
            )
        missing, unused = _differences(adapted, weight_names(adapter, revision))
    except (RuntimeError, ValueError, OSError, KeyError, SafetensorError) as error:
        raise WmEvalError(
            f"the adapter {adapter} does not fit the model {location}; it was made for "
            f"{made_for or 'a base that it does not name'}: {short(error)}"
        ) from error
    if missing or unused:
        raise WmEvalError(
            f"the adapter {adapter} does not fit the model {location}; it was made for "
            f"{made_for or 'a base that it does not name'}: it lacks {len(missing)} tensors for "
            f"layers of this model, and {len(unused)} of its tensors have no layer here "
            f"({(missing or unused)[0]})"
        )
    warn_of_other_base(location, Path(adapter_folder(adapter, revision)), str(made_for or ""))
    return adapted


def adapter_config(adapter: str, location: str, revision: str | None = None) -> dict[str, Any]:
    """What adapter_config.json says, of an adapter that is whole and made for `location`."""
    try:
        text = Path(_file(adapter, CONFIG, revision)).read_text(encoding="utf-8")
        config = cast("dict[str, Any]", json.loads(text))
    except ValueError as error:
        raise WmEvalError(f"{adapter}/{CONFIG} is not JSON: {error}") from error
    _check_known(config, adapter)
    check_kind(config, f"the adapter {adapter}")
    _file(adapter, WEIGHTS, revision)
    _check_base(config, location, adapter)
    return config


def check_base_asked(base: str, adapter: str, location: str, revision: str | None) -> None:
    """Refuse a base beside an adapter that has its own: the model with the adapter off."""
    if not not_its_base(adapter_config(adapter, location, revision)):
        raise WmEvalError(
            f"--base {base} goes with no --adapter, whose base is the model; leave one of them out"
        )


def adapter_commit(adapter: str | None, revision: str | None = None) -> str | None:
    """The commit that the hub gave an adapter at, whatever branch was asked for; a folder has none,
    and no adapter either."""
    if adapter is None or Path(adapter).is_dir():
        return revision
    folder = Path(adapter_folder(adapter, revision))
    return folder.name if folder.parent.name == "snapshots" else revision


def adapter_folder(adapter: str, revision: str | None = None) -> str:
    """Where the adapter's files lie; of a hub id, where they were downloaded to."""
    return str(Path(_file(adapter, CONFIG, revision)).parent)


def weight_names(adapter: str, revision: str | None = None) -> list[str]:
    """Names of the adapter's tensors, as its file has them."""
    from safetensors import safe_open

    path = _file(adapter, WEIGHTS, revision)
    with cast(Any, safe_open)(path, framework="pt") as file:
        return sorted(cast("list[str]", file.keys()))


def _file(adapter: str, name: str, revision: str | None) -> str:
    """Path of one of the adapter's files, from its folder or from the hub."""
    folder = Path(adapter)
    if folder.is_dir():
        if not (folder / name).is_file():
            raise WmEvalError(_missing(adapter, name, lambda other: (folder / other).is_file()))
        return str(folder / name)
    if adapter.startswith((".", "/", "~")) or adapter.count("/") != 1:
        raise WmEvalError(f"adapter {adapter} does not exist; give a folder or a hub id")
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    hub: Any = huggingface_hub

    def there(other: str) -> bool:
        return hub.HfApi().file_exists(adapter, other, revision=revision)

    try:
        return hub.hf_hub_download(adapter, name, revision=revision)
    # The hub's client has a dozen errors of its own, and those of its transport.
    except Exception as error:
        unreached = isinstance(error, LocalEntryNotFoundError)  # and nothing in the cache
        if isinstance(error, EntryNotFoundError) and not unreached:
            raise WmEvalError(_missing(adapter, name, there)) from error
        raise WmEvalError(
            f"adapter {adapter} cannot be read from the hub: {short(error)}"
        ) from error


def _missing(adapter: str, name: str, there: Callable[[str], bool]) -> str:
    """Why an adapter lacks a file of this name, and what to do; `there` tells its other files."""
    if name == CONFIG and there("config.json"):
        return f"{adapter} is a whole model and no adapter; give it as the model, without --adapter"
    inner = Path(adapter) / "adapter"
    if name == CONFIG and (inner / CONFIG).is_file():
        return f"{adapter} is not the adapter itself, which is in it: give --adapter {inner}"
    if name == CONFIG:
        return f"{adapter} has no {CONFIG}: it is no adapter"
    if there(PICKLE):
        return (
            f"{adapter} has its weights in {PICKLE}, a pickle, and wm-eval reads {WEIGHTS} alone; "
            "load it with PEFT where you trust it, and save it again"
        )
    return f"{adapter} has no {WEIGHTS}; was its saving interrupted?"


def _check_known(config: Any, adapter: str) -> None:
    """Refuse a configuration that is no adapter's, or one of a kind that PEFT does not have."""
    import peft
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    kind = cast("dict[str, Any]", config).get("peft_type") if isinstance(config, dict) else None
    if kind is None:
        raise WmEvalError(f"{adapter}/{CONFIG} has no peft_type: is it an adapter's, and whole?")
    if str(kind) not in {str(known.value) for known in PEFT_TYPE_TO_CONFIG_MAPPING}:
        raise WmEvalError(
            f"the adapter {adapter} is {kind}, which PEFT {peft.__version__} does not know; "
            "was it made with a later one?"
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


def _differences(adapted: Any, names: list[str]) -> tuple[list[str], list[str]]:
    """Names of LoRA weights that the model wants and the file lacks, and the other way round."""
    import peft

    # False: "auto" asks the hub whether the base has another vocabulary.
    state = cast(Any, peft).get_peft_model_state_dict(adapted, save_embedding_layers=False)
    wanted = cast("dict[str, Any]", state)
    lora = [{name for name in side if "lora_" in name} for side in (wanted, names)]
    return sorted(lora[0] - lora[1]), sorted(lora[1] - lora[0])
