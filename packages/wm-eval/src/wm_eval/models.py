"""From names to what is evaluated: model, adapter and base, by either backend. Evaluates nothing.

What the names do not allow together is refused before a model that takes minutes to load.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from wm_eval.adapters import adapter_commit, check_base_asked
from wm_eval.errors import WmEvalError
from wm_eval.loading import check_model, check_revision, check_same_tokens, load_model
from wm_eval.partial import stamp
from wm_eval.record import model_ref
from wm_manifest import ModelRef

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from wm_eval.generator import Generator


@dataclass(frozen=True)
class Names:
    """Folders or hub ids, with a branch, tag or commit of each that is of the hub."""

    model: str
    adapter: str | None = None
    base: str | None = None
    revision: str | None = None
    adapter_revision: str | None = None
    base_revision: str | None = None


@dataclass(frozen=True)
class Models:
    """What `wm_eval.evaluate` takes: the model, its tokenizer and base, and how each is named.

    `weights` tells these weights from any others. A `base` of "auto" is the model without adapter.
    """

    model: PreTrainedModel | Generator
    tokenizer: PreTrainedTokenizerBase
    ref: ModelRef
    weights: list[str]
    base: PreTrainedModel | Generator | Literal["auto"] = "auto"
    base_ref: ModelRef | None = None


def open_models(names: Names, dtype: str, device: str | None, backend: str) -> Models:
    """Load what was named. Raises `WmEvalError`."""
    _check(names)
    names = replace(
        names,
        revision=commit_of(names.model, names.revision),
        base_revision=names.base and commit_of(names.base, names.base_revision),
    )
    below: PreTrainedModel | Generator | Literal["auto"] = "auto"
    below_ref = None
    of_model = (names.revision, names.adapter_revision)
    if backend == "vllm":
        from wm_eval.vllm_loading import load_vllm

        loaded, without, tokenizer = load_vllm(names.model, names.adapter, dtype, *of_model)
        below = without or "auto"
        commit = adapter_commit(names.adapter, names.adapter_revision)
        ref = ModelRef(
            location=names.model,
            revision=names.revision,
            adapter=names.adapter,
            adapter_revision=commit,
        )
    else:
        loaded, tokenizer = load_model(names.model, names.adapter, dtype, device, *of_model)
        commit = adapter_commit(names.adapter, names.adapter_revision)
        ref = model_ref(loaded, names.model, names.adapter, names.revision, commit)
    if names.base is not None:
        below, other = load_model(names.base, None, dtype, device, names.base_revision)
        check_same_tokens(tokenizer, other, names.base)
        below_ref = model_ref(below, names.base, revision=names.base_revision)
    weights = [*stamp(names.model, names.adapter), dtype, backend]
    weights.append(f"{ref.revision} {ref.adapter_revision}")
    return Models(loaded, tokenizer, ref, weights, below, below_ref)


def commit_of(location: str, revision: str | None) -> str | None:
    """The commit that a branch or tag of the hub stands for now, or its default branch.

    Asked before anything is loaded: a model in memory no longer tells its own, and a branch may
    move on between its tokenizer and its weights. The revision as it is for a folder, and where
    neither the hub nor its cache knows it.
    """
    from transformers.utils import hub

    resolved: Any = cast(Any, hub).resolve_revision(location, revision)
    return getattr(resolved, "resolved", None) or revision


def _check(names: Names) -> None:
    """Refuse a base that cannot be the one, before anything is loaded."""
    if names.base is not None and names.adapter is not None:
        check_base_asked(names.base, names.adapter, names.model, names.adapter_revision)
    if names.base is None and names.base_revision is not None:
        raise WmEvalError(f"--base-revision {names.base_revision} needs --base")
    if names.base is not None:
        check_revision("--base-revision", names.base_revision, names.base)
        check_model(names.base)
