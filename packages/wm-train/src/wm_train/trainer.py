"""TRL's ORPO trainer with our loss, our order of examples and none of its side effects."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from trl.experimental.orpo import ORPOTrainer

from wm_train.checkpoints import VerifiedCheckpoints
from wm_train.loss import OrpoTerms, answer_positions, mean_logps, orpo
from wm_train.sampler import TwinSampler

Scope = Literal["answer", "full"]


class WatermarkOrpoTrainer(VerifiedCheckpoints, ORPOTrainer):
    """ORPO on tokenised pairs of two tasks (columns as `wm_train.examples` makes them).

    Differs from TRL's in: the likelihood term runs over the answer alone (`nll_scope="full"` gives
    TRL's), the odds ratio is finite at probability one, rows keep their examples together, metrics
    are kept per task, no model card is written into checkpoints, nothing is sent as telemetry.
    """

    def __init__(self, *args: Any, nll_scope: Scope, twins: bool, **kwargs: Any) -> None:
        self._nll_scope: Scope = nll_scope
        self._twins = twins
        super().__init__(*args, **kwargs)

    def tokenize_row(
        self, feature: dict[str, Any], model: nn.Module | None = None
    ) -> dict[str, Any]:
        """Nothing to do: TRL's own would append a second end token and truncate answers."""
        return feature

    def _get_train_sampler(self, train_dataset: Any = None) -> TwinSampler:
        data = cast(Any, self.train_dataset if train_dataset is None else train_dataset)
        seed = self.args.data_seed if self.args.data_seed is not None else self.args.seed
        return TwinSampler(list(data["row_id"]), seed, self._twins)

    def get_batch_loss_metrics(
        self,
        model: nn.Module,
        batch: dict[str, Any],
        train_eval: Literal["train", "eval"] = "train",
    ) -> tuple[Tensor, dict[str, float]]:
        """Mean loss over the batch's rows, and the means of its parts for each task."""
        pad = cast(int, self.padding_value)
        both = self.concatenated_inputs(batch, padding_value=pad, device=self.accelerator.device)
        labels = both["concatenated_labels"]  # (2 x rows, length), chosen first
        at_answers = answer_positions(labels)
        # A prompt's logits over the whole vocabulary are a step's largest tensor, and with the
        # likelihood on the answer alone nothing is learnt from them.
        alone = self._nll_scope == "answer"
        with head_at(self._head(model), at_answers) if alone else nullcontext():
            logits: Tensor = model(
                both["concatenated_input_ids"],
                attention_mask=both["concatenated_attention_mask"],
                use_cache=False,
            ).logits  # (answer tokens, vocab), or (2 x rows, length, vocab)
        nll = None
        if not alone:
            nll = _sequence_nll(logits, both, rows=len(labels) // 2).expand(len(labels) // 2)
            logits = logits[at_answers]
        chosen, rejected = mean_logps(logits, labels).chunk(2)
        terms = orpo(chosen, rejected, self.beta, nll)
        return terms.loss.mean(), _metrics(terms, batch["task"], train_eval)

    def _head(self, model: nn.Module) -> nn.Module:
        unwrapped = cast(Any, self.accelerator.unwrap_model(model))
        return cast(nn.Module, unwrapped.get_output_embeddings())

    def _send_telemetry(self) -> None:
        """Nothing is sent: a run must not depend on, or tell, anyone it was not asked to."""


@contextmanager
def head_at(head: nn.Module, at: tuple[Tensor, Tensor]) -> Generator[None]:
    """Let `head` see only the hidden states at (rows, positions) `at`: (n, width) of all (b, t).

    A hook on the head leaves the model's own forward, and all that wraps it, as they are.
    """

    def pick(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][at], *inputs[1:])

    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()


def _sequence_nll(logits: Tensor, both: Mapping[str, Tensor], rows: int) -> Tensor:
    """TRL's likelihood term: mean over every token, prompt included, of all chosen sequences."""
    labels = both["concatenated_input_ids"][:rows, 1:]
    seen = both["concatenated_attention_mask"][:rows, 1:] == 1
    return nn.functional.cross_entropy(
        logits[:rows, :-1].flatten(0, 1).float(), labels.masked_fill(~seen, -100).flatten()
    )


def _metrics(terms: OrpoTerms, tasks: Sequence[str], prefix: str) -> dict[str, float]:
    """Means of the loss's parts for each task; of one process, as the loss itself is."""
    parts = {
        "nll": terms.nll,
        "odds_ratio_loss": terms.odds_ratio,
        "log_odds_ratio": terms.log_odds_ratio,
        "preference_accuracy": (terms.log_odds_ratio > 0).float(),
    }
    lead = "" if prefix == "train" else "eval_"
    means: dict[str, float] = {}
    for task in sorted(set(tasks)):
        here = torch.tensor([name == task for name in tasks], device=terms.loss.device)
        for part, values in parts.items():
            means[f"{lead}{task}/{part}"] = values.detach()[here].mean().item()
    return means
