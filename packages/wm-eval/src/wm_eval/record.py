"""What a report says of how it came about: model, wordings, versions, hashes. Measures nothing."""

from __future__ import annotations

import hashlib
import math
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

import wm_prompts
from wm_eval.question import HELD_OUT, Dataset
from wm_manifest import ModelRef, TemplateRef

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKAGES = (
    *("wm-eval", "wm-score", "wm-prompts", "wm-manifest"),
    *("torch", "transformers", "peft", "bitsandbytes", "vllm"),
    *("numpy", "scipy"),  # of intervals
)
PACKED = " (4-bit weights)"


def describe(model: Any) -> ModelRef:
    """A model in memory, as far as it says where it comes from."""
    config: Any = model.config
    return ModelRef(
        location=str(getattr(config, "_name_or_path", "") or "in memory"),
        model_type=str(config.model_type),
        parameters=sum(map(elements, model.parameters())),
    )


def elements(parameter: Any) -> int:
    """Of a parameter, also of one that bitsandbytes has packed into half as many bytes."""
    packed = getattr(parameter, "quant_state", None)
    return math.prod(packed.shape) if packed is not None else parameter.numel()


def model_ref(
    model: PreTrainedModel,
    location: str,
    adapter: str | None = None,
    revision: str | None = None,
    adapter_revision: str | None = None,
) -> ModelRef:
    """A model by the names that it was asked for under, and the commits of those of the hub."""
    return describe(model).model_copy(
        update={
            "location": location,
            "adapter": adapter,
            "revision": revision,
            "adapter_revision": adapter_revision,
        }
    )


def without_adapter(model: ModelRef) -> ModelRef:
    """The model below an adapter. Its parameters are not counted: those of the adapter are in."""
    unknown = {"adapter": None, "adapter_revision": None, "parameters": None}
    return model.model_copy(update=unknown)


def arithmetic(model: Any) -> list[str]:
    """What changes an answer of a model in memory beside its weights: its precision and device."""
    device = getattr(model, "device", None)
    kind = str(getattr(device, "type", device) or "")
    dtype = str(getattr(model, "dtype", ""))
    # The type is that of the parts that are not packed.
    found = [f"{dtype}{PACKED}" if getattr(model, "is_loaded_in_4bit", False) else dtype, kind]
    if kind == "cuda":
        import torch

        found.append(torch.cuda.get_device_name(device))
    return found


def used_templates(data: Dataset) -> list[TemplateRef]:
    """The templates behind the items: ours for watermark, the dataset's record for detect."""
    used = {f"watermark/{item.arm}/{item.variant}" for item in data.watermark}
    recorded = [t for t in data.manifest.templates if t.id.startswith("detect/")]
    asked = {item.variant for item in data.detect}
    return [
        TemplateRef(
            id=id,
            sha256=wm_prompts.sha256(id),
            text=wm_prompts.source(id),
            heldout=id.rpartition("/")[2].startswith(HELD_OUT),
        )
        for id in sorted(used)
    ] + [template for template in recorded if template.id.rpartition("/")[2] in asked]


def versions() -> dict[str, str]:
    """Versions of what can change a figure, and the interpreter's."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # an extra that is not installed
            continue
    return found


def sha256(text: str) -> str:
    """SHA-256 of the text in UTF-8, as hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
