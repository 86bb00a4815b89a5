"""Loads a causal language model to make rows with, and says which one it was. Samples nothing."""

# transformers' own types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wm_data.errors import WmDataError
from wm_data.parity import token_parities
from wm_data.smollm2 import NAME, smollm2_135m
from wm_data.store import sha256_of


@dataclass(frozen=True)
class Loaded:
    """A model in memory. `identity` is a hub commit, or the hash of a folder's weights."""

    model: Any  # a transformers model; untyped, since its own types are partial
    tokenizer: Any
    parities: list[float]  # (tokens,)
    identity: dict[str, str]


def load_model(name: str) -> Loaded:
    """Load `smollm2-135m`, a folder or a hub id; on a GPU in bfloat16 where there is one."""
    missing = [module for module in ("torch", "transformers") if find_spec(module) is None]
    if missing:
        raise WmDataError(
            f"generate: needs {', '.join(missing)}; uv sync in a clone of wm installs it"
        )
    import torch
    import transformers
    from safetensors import SafetensorError
    from transformers.utils import hub

    place = str(smollm2_135m()) if name == NAME and not Path(name).exists() else name
    cuda = torch.cuda.is_available()
    # Once for both, or the repository may move between them; a model no longer tells its commit.
    commit = getattr(hub.resolve_revision(place), "resolved", None)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, revision=commit)
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            place,
            revision=commit,
            dtype=torch.bfloat16 if cuda else torch.float32,
            output_loading_info=True,
        )
        model, told = loaded
        model.to(torch.device("cuda" if cuda else "cpu"))
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WmDataError(
            f"model {name}: cannot be loaded ({reason}); name {NAME}, a folder or OWNER/NAME"
        ) from error
    if absent := sorted(told["missing_keys"]):  # transformers fills them with random numbers
        raise WmDataError(
            f"model {name}: has no weights for {len(absent)} of its tensors ({absent[0]}); is a "
            "file of it missing, or its config.json another model's?"
        )
    if not tokenizer.chat_template:
        raise WmDataError(f"model {name}: has no chat template; choose one that was made for chat")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Loaded(model, tokenizer, token_parities(tokenizer), _identity(Path(place), commit))


def _identity(folder: Path, commit: str | None) -> dict[str, str]:
    if not folder.is_dir():
        return {"commit": commit} if commit else {}
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    return {path.name: sha256_of(path) for path in files}
