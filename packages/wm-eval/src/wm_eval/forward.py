"""One forward pass of a causal model over padded rows. Chooses no token and keeps no cache."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.cache_utils import Cache


class Forward:
    """The model as a function of ids, mask and cache. Changes neither it nor its config."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model: Any = model
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # pyright: ignore
        known = inspect.signature(cast(Any, inner).forward).parameters
        # Without it a long prompt's logits alone are gigabytes at Qwen3's 151,936 ids.
        self.can_keep = "logits_to_keep" in known

    @property
    def device(self) -> Any:
        return self.model.device

    @property
    def vocab_size(self) -> int:
        """Columns of the logits; of the language model inside, where a model has eyes as well."""
        return self.model.config.get_text_config(decoder=True).vocab_size

    def __call__(
        self, ids: Tensor, mask: Tensor, position: Tensor, cache: Cache | None, keep: int = 1
    ) -> Tensor:
        """Logits (rows, keep, vocab) of the ids that follow each of the last `keep`.

        ids, position: (rows, new); mask: (rows, cached and new), 1 where a real token stands.
        """
        # use_cache is given by hand: Trainer sets config.use_cache to False.
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=cache is not None,
            **({"logits_to_keep": keep} if self.can_keep else {}),
        )
        return cast(Tensor, out.logits)[:, -keep:]

    def pad(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Ids and mask, (rows, longest), padded on the left. The pad's id is never attended to."""
        width = max(len(row) for row in rows)
        ids = [[0] * (width - len(row)) + row for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        return (
            torch.tensor(ids, dtype=torch.long, device=self.device),
            torch.tensor(mask, dtype=torch.long, device=self.device),
        )
