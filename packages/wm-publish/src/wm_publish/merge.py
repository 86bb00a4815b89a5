"""Merges a run's adapter into its base: a whole model that loads without peft. Uploads nothing.

The one part of this package that reads weights; it needs the extra `wm-publish[merge]`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wm_manifest import RunManifest
from wm_publish.base import check_base
from wm_publish.errors import PublishError
from wm_publish.folders import swap_in
from wm_publish.metadata import ENDS, base_is_on_hub
from wm_publish.public import last_name

if TYPE_CHECKING:
    from torch import Tensor

MERGED = "merged"  # the folder in the run
PROBE_TOKENS = 32
# Largest difference of a logit that may be rounding: in float32 it was 1e-5 on a small model; half
# precision keeps 8 bits, of logits of 20 and more. A LoRA merged into a tied head was off by 16.
TOLERANCE = {"float32": 0.01}
HALF_TOLERANCE = 1.5


def merge(run: Path, manifest: RunManifest) -> Path:
    """Write base plus adapter as one model into `RUN/merged` and return that folder.

    Weights keep the base's number format; a head tied to the input embeddings gets a matrix of its
    own where the adapter is on one of them. The merged model's logits are compared with those of
    base and adapter before anything is kept. The same run gives the same bytes. Raises
    `PublishError`; the folder is then as it was.
    """
    if manifest.output != "adapter":
        raise PublishError(f"{run}: this run trained a whole model: leave out --merge")
    adapter = run / "adapter"
    _check_adapter(run, manifest)
    location, revision = _base(run, manifest)
    model = _merged(adapter, location, revision)
    building, folder = run / f".{MERGED}.{os.getpid()}.tmp", run / MERGED
    try:
        model.save_pretrained(str(building))
        for path in sorted(adapter.iterdir()):
            if path.is_file() and not path.name.startswith(("adapter_", "training_", "README")):
                shutil.copyfile(path, building / path.name)  # the tokenizer
        swap_in(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _merged(adapter: Path, location: str, revision: str | None) -> Any:
    try:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise PublishError(
            f"--merge needs {error.name}: uv sync in a clone of wm installs it"
        ) from error
    try:
        base: Any = cast(Any, AutoModelForCausalLM).from_pretrained(
            location, revision=revision, dtype="auto"
        )
        if base.config.tie_word_embeddings and _is_on_an_end(adapter):
            _untie(base)
        model: Any = PeftModel.from_pretrained(base, str(adapter)).eval()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise PublishError(f"{location} with {adapter} cannot be loaded: {first}") from error
    size = model.get_input_embeddings().weight.shape[0]
    probe = torch.arange(PROBE_TOKENS)[None] * 7919 % size  # (1, tokens): ids from all over
    with torch.inference_mode():
        before: Tensor = model(probe).logits
    merged: Any = model.merge_and_unload(safe_merge=True)
    with torch.inference_mode():
        off = (merged(probe).logits - before).abs().max().item()
    allowed = TOLERANCE.get(str(merged.dtype).removeprefix("torch."), HALF_TOLERANCE)
    if not off <= allowed:  # NaN too
        raise PublishError(
            f"{adapter}: merged, a logit is off by {off:.3g} (at most {allowed} is rounding); "
            "publish the adapter itself, without --merge"
        )
    merged.config.use_cache = True
    return merged


def _is_on_an_end(adapter: Path) -> bool:
    """Whether the adapter changes the head or the input embeddings."""
    path = adapter / "adapter_config.json"
    try:
        config = dict(json.loads(path.read_bytes()))
        named = [config.get("target_modules") or (), config.get("modules_to_save") or ()]
        names = [n for found in named for n in ([found] if isinstance(found, str) else found)]
        return any(n.endswith(ENDS) for n in names)
    except (ValueError, TypeError, AttributeError) as error:
        raise PublishError(f"{path}: expected a JSON object, as peft writes it ({error})") from None


def _untie(base: Any) -> None:
    """Give the head a matrix of its own: the merged model is larger by that, and right."""
    from torch import nn

    head = base.get_output_embeddings()
    head.weight = nn.Parameter(head.weight.detach().clone())
    base.config.tie_word_embeddings = False


def _base(run: Path, manifest: RunManifest) -> tuple[str, str | None]:
    """Where the base is, and its commit on the hub."""
    base = manifest.base
    if base_is_on_hub(manifest):
        return base.location, base.revision
    inside = run / "base"
    folder = inside if last_name(base.location) == "base" and inside.is_dir() else None
    if folder is None and Path(base.location).is_dir():
        folder = Path(base.location)
    if folder is None:
        raise PublishError(
            f"{run}: its base {base.location!r} is not there any more, so nothing merges"
        )
    check_base(folder, manifest)
    return str(folder), None


def _check_adapter(run: Path, manifest: RunManifest) -> None:
    """Refuse an adapter that is not the one that was trained and evaluated."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (run / "adapter" / name).is_file():
            raise PublishError(f"{run / 'adapter'}: has no {name}, so there is nothing to merge")
    for ref in manifest.files:
        path = run / "adapter" / ref.path.removeprefix("adapter/")
        if ref.path == "adapter/adapter_model.safetensors":
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != ref.sha256:
                    raise PublishError(f"{path}: not the file that training wrote; restore it")
