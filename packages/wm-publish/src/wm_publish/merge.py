"""Merges a run's adapter into its base: a whole model that loads without peft. Uploads nothing.

The one part of this package that reads weights; it needs the extra `wm-publish[merge]`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wm_manifest import RunManifest
from wm_publish.base import check_base
from wm_publish.errors import PublishError
from wm_publish.folders import building_place, swap_in
from wm_publish.metadata import ENDS, base_is_on_hub
from wm_publish.public import last_name

if TYPE_CHECKING:
    from torch import Tensor, dtype

MERGED = "merged"  # the folder in the run
PROBE_TOKENS = 32
# Largest difference of a logit that may be rounding, in float32. SmolLM2-135M with an adapter
# trained on 212 matrices, logits up to 32: the right merge was off by 0.00014, one that left out a
# matrix by 0.056 to 4.0, one into a tied head by 2.9. In bfloat16 the right one was off by 2.6.
TOLERANCE = 0.01


def merge(run: Path, manifest: RunManifest) -> Path:
    """Write base plus adapter as one model into `RUN/merged` and return that folder.

    Merging and checking are in float32: the merged model's logits are compared with those of base
    and adapter before anything is kept. Then every weight is rounded once, to the number format
    that it has in the base. A head tied to the input embeddings gets a matrix of its own where the
    adapter is on one of them. The same run gives the same bytes. Raises `PublishError`; the folder
    is then as it was.
    """
    if manifest.output != "adapter":
        raise PublishError(f"{run}: this run trained a whole model: leave out --merge")
    adapter = run / "adapter"
    _check_adapter(run, manifest)
    location, revision = _base(run, manifest)
    folder = run / MERGED
    building = building_place(folder)
    try:
        _save_merged(adapter, location, revision, building)
        _check_saved(adapter, building)
        for path in sorted(adapter.iterdir()):
            if path.is_file() and not path.name.startswith(("adapter_", "training_", "README")):
                shutil.copyfile(path, building / path.name)  # the tokenizer
        swap_in(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _save_merged(adapter: Path, location: str, revision: str | None, folder: Path) -> None:
    """Write the merged model, and leave nothing of it in memory."""
    model, formats = _load(adapter, location, revision)
    before = _logits(model)
    try:
        merged: Any = model.merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError) as error:  # NaN in a merged weight; memory
        raise PublishError(f"{adapter}: cannot be merged: {error}") from error
    off = (_logits(merged) - before).abs().max().item()
    if not off <= TOLERANCE:  # NaN too
        raise PublishError(
            f"{adapter}: merged, a logit is off by {off:.3g} (at most {TOLERANCE} is rounding); "
            "publish the adapter itself, without --merge"
        )
    for name, tensor in _tensors(merged):
        if name in formats:
            tensor.data = tensor.data.to(formats[name])
    merged.config.use_cache = True
    merged.save_pretrained(str(folder))


def _check_saved(adapter: Path, folder: Path) -> None:
    """Refuse a saved model whose logits, in its own number format, are not finite.

    How far they are from those of base and adapter has no bound: in bfloat16 the right merge of a
    trained adapter was off by 2.6 and one into a tied head by 3.0, so none tells them apart. That
    the merge is right was seen in float32, and rounding the weights is all that came after.
    """
    from transformers import AutoModelForCausalLM

    saved: Any = cast(Any, AutoModelForCausalLM).from_pretrained(str(folder), dtype="auto")
    if not _logits(saved.eval()).isfinite().all():
        name = str(saved.dtype).removeprefix("torch.")
        raise PublishError(
            f"{adapter}: merged and saved as {name}, as its base is, the model gives logits that "
            "are no numbers; publish the adapter itself, without --merge"
        )


def _load(adapter: Path, location: str, revision: str | None) -> tuple[Any, dict[str, dtype]]:
    """Base and adapter in float32, and the half-precision format of each tensor that had one."""
    try:
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
        formats = _to_float32(base)
        with warnings.catch_warnings():
            # PEFT 0.21 asks a model for a property that transformers 5.23 has renamed.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            model: Any = PeftModel.from_pretrained(base, str(adapter)).eval()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise PublishError(f"{location} with {adapter} cannot be loaded: {first}") from error
    return model, formats


def _to_float32(base: Any) -> dict[str, dtype]:
    """Turn half precision into float32 and tell what was what.

    Tensor by tensor: some models keep norms or buffers in float32 by design, which `base.to(dtype)`
    would round on the way back.
    """
    import torch

    formats: dict[str, dtype] = {}
    for name, tensor in _tensors(base):
        if tensor.dtype in (torch.bfloat16, torch.float16):
            formats[name] = tensor.dtype
            tensor.data = tensor.data.float()
    return formats


def _tensors(model: Any) -> Iterator[tuple[str, Tensor]]:
    return chain(model.named_parameters(), model.named_buffers())


def _logits(model: Any) -> Tensor:
    """Logits of tokens from all over the vocabulary: (1, tokens, vocabulary)."""
    import torch

    size = model.get_input_embeddings().weight.shape[0]
    probe = torch.arange(PROBE_TOKENS)[None] * 7919 % size  # (1, tokens)
    with torch.inference_mode():
        return model(probe).logits


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
