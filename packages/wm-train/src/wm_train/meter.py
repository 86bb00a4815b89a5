"""Adds up the parts of the loss for each task until they are logged. Computes no loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wm_train.packing import TASKS

if TYPE_CHECKING:
    from torch import Tensor

    from wm_train.loss import OrpoTerms
    from wm_train.packing import Pack

PARTS = (
    "nll",
    "odds_ratio_loss",
    "log_odds_ratio",
    "preference_accuracy",
    "chosen_logp",
    "rejected_logp",
    "margin",
    "answer_tokens",  # of the chosen answer and the rejected one
)


class Meter:
    """Sums on the device: reading them at every pack would make it wait."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None  # (tasks, parts + 1): the last column counts pairs
        self._tokens = (0, 0)  # computed, and what single sequences would have had
        self._neutral: Tensor | None = None  # (3,): sums of distances and ends, number of texts

    def add(self, terms: OrpoTerms, chosen: Tensor, rejected: Tensor, pack: Pack) -> None:
        """Count the pairs of one pack; every tensor but the pack's has shape (pairs,)."""
        import torch

        parts = (
            *(terms.nll, terms.odds_ratio, terms.log_odds_ratio, terms.log_odds_ratio > 0),
            *(chosen, rejected, chosen - rejected),
            *(pack.answer_lengths.view(2, -1).sum(0), torch.ones_like(chosen)),
        )
        values = torch.stack([part.detach().double() for part in parts], 1)
        if self._sums is None:
            self._sums = values.new_zeros(len(TASKS), len(PARTS) + 1)
        self._sums.index_add_(0, pack.tasks, values)
        self._count_tokens(pack)

    def add_neutral(self, apart: Tensor, ends: Tensor, pack: Pack) -> None:
        """Count a pack of texts under neutral prompts.

        Of each, shape (texts,): what its distance from the base costs, and -log p of its end.
        """
        import torch

        values = torch.stack([apart, ends, torch.ones_like(ends)]).detach().double()
        sums = values.sum(1)
        self._neutral = sums if self._neutral is None else self._neutral + sums
        self._count_tokens(pack)

    def _count_tokens(self, pack: Pack) -> None:
        computed, unshared = self._tokens
        self._tokens = (computed + pack.ids.numel(), unshared + pack.unshared_tokens)

    def take(self, reduce: Any) -> dict[str, float]:
        """Means since the last call, by `task/part`; `reduce` adds a tensor over all processes."""
        import torch

        if self._sums is None:
            return {}
        sums = reduce(self._sums, "sum").tolist()
        computed, unshared = reduce(
            torch.tensor(self._tokens, dtype=torch.float64, device=self._sums.device), "sum"
        ).tolist()
        # A process may have had no such text, and all have to take part.
        apart, ends, texts = reduce(
            self._sums.new_zeros(3) if self._neutral is None else self._neutral, "sum"
        ).tolist()
        self._sums, self._tokens, self._neutral = None, (0, 0), None
        means = {
            f"{task}/{part}": row[i] / row[-1]
            for task, row in zip(TASKS, sums, strict=True)
            for i, part in enumerate(PARTS)
            if row[-1]
        }
        if texts:
            means |= {"neutral/loss": apart / texts, "neutral/end_nll": ends / texts}
        return means | {"tokens/computed": computed, "tokens/unshared": unshared}
