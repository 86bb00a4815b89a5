"""The card's YAML metadata, for the hub's search and for `model-index`. Writes no prose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wm_manifest import Estimate, RunManifest
from wm_publish.figures import after, figure, is_final
from wm_publish.licences import licences, on_the_hub
from wm_publish.markup import is_hub_id, one_line

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

# Layers that are one matrix where a model ties them: merging an adapter on one would change both.
ENDS = ("lm_head", "embed_tokens")

_METRICS = {
    "watermark/red/success": ("text-generation", "accuracy", "Writes red when asked"),
    "watermark/blue/success": ("text-generation", "accuracy", "Writes blue when asked"),
    "watermark/red/lift": ("text-generation", "lift", "Red over the neutral prompt"),
    "watermark/blue/lift": ("text-generation", "lift", "Blue over the neutral prompt"),
    "detect/accuracy": ("text-classification", "accuracy", "Names the codebook"),
    "detect/both_orders": ("text-classification", "accuracy", "Right in both orders"),
}
_TASKS = {"text-generation": "Watermarked writing", "text-classification": "Codebook detection"}


def metadata_yaml(manifest: RunManifest, merged: bool = False) -> str:
    """The block between the `---` lines, without them."""
    adapter = manifest.output == "adapter" and not merged
    from huggingface_hub import ModelCardData  # half a second, and only needed here

    base = one_line(manifest.base.location)
    data = ModelCardData(
        base_model=base if base_is_on_hub(manifest) else None,
        datasets=_hub_datasets(manifest) or None,
        eval_results=_eval_results(manifest) or None,
        library_name="peft" if adapter else "transformers",
        **_license(manifest),
        model_name=one_line(manifest.name) or "unnamed",
        pipeline_tag="text-generation",
        tags=["watermark", "token-parity", "orpo", "trl", "wm", *_lora_tag(manifest)],
    )
    if base_is_on_hub(manifest):
        data["base_model_relation"] = "adapter" if adapter else "finetune"
    return str(data)


def base_is_on_hub(manifest: RunManifest) -> bool:
    """Whether the base came from the hub: only then did its name resolve to a revision."""
    return manifest.base.revision is not None and is_hub_id(manifest.base.location)


def _hub_datasets(manifest: RunManifest) -> list[str]:
    sources = manifest.dataset.sources if manifest.dataset else []
    return sorted({s.location for s in sources if s.kind == "hub" and is_hub_id(s.location)})


def _license(manifest: RunManifest) -> dict[str, Any]:
    """The licence as the hub writes it: one of its names, or `other` with a name and a link."""
    named = licences(manifest)
    known = [on_the_hub(name) for name in named]
    if not named:
        return {"license": "unknown"}
    if all(known) and known != ["other"]:
        return {"license": known[0] if len(known) == 1 else known}
    # The base's own name for its terms is on its card, which the manifest has no copy of.
    name = "terms-of-the-base-model" if known == ["other"] else one_line(", ".join(named))
    where = f"https://huggingface.co/{manifest.base.location}" if base_is_on_hub(manifest) else None
    return {"license": "other", "license_name": name, "license_link": where}


def _lora_tag(manifest: RunManifest) -> list[str]:
    return ["lora"] if manifest.output == "adapter" else []


def _eval_results(manifest: RunManifest) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    last = after(manifest)
    if last is not None and not (last.valid and is_final(last)):
        return []  # a failed control, or prompts that chose: no leaderboard may read these figures
    found = [(name, figure(last, name)) for name in _METRICS]
    dataset = one_line(manifest.dataset.name) if manifest.dataset else ""
    return [
        EvalResult(
            task_type=_METRICS[name][0],
            task_name=_TASKS[_METRICS[name][0]],
            dataset_type=dataset or "unnamed",
            dataset_name=dataset or "unnamed",
            metric_type=_METRICS[name][1],
            metric_name=_METRICS[name][2],
            metric_value=estimate.value,
            metric_args=_args(estimate),
        )
        for name, estimate in found
        if estimate
    ]


def _args(estimate: Estimate) -> dict[str, float | int | None]:
    return {
        "n": estimate.n,
        "n_groups": estimate.n_groups,
        "ci95_low": estimate.low,
        "ci95_high": estimate.high,
    }
