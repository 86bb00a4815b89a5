"""TRL's ORPO trainer with our loss, our order of examples and none of its side effects.

An optimizer step is a fixed number of pairs over all devices. A device's share of it is one batch
of its data loader; the batch is cut into packs, forward passes within a budget of tokens, whose
gradients add up. Sums are divided by what the whole step holds, so the update is the same however
many packs or devices share the work.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn
from trl.experimental.orpo import ORPOTrainer

from wm_train import adapter, columns
from wm_train.attention import model_mask
from wm_train.checkpoints import VerifiedCheckpoints
from wm_train.head import token_head
from wm_train.logps import chunk_on
from wm_train.meter import Meter
from wm_train.packing import TASKS, Pack, Packing
from wm_train.sampler import TwinSampler
from wm_train.sharded import ShardedState, is_sharded
from wm_train.step_loss import Contrast, Scope, StepLoss

if TYPE_CHECKING:
    from datasets import Dataset


class WatermarkOrpoTrainer(ShardedState, VerifiedCheckpoints, ORPOTrainer):
    """ORPO on tokenised pairs of two tasks (columns as `wm_train.examples` makes them).

    Differs from TRL's in: the likelihood term runs over the answer alone (`nll_scope="full"` gives
    TRL's), the odds ratio is finite at probability one, rows keep their examples together, prompts
    are computed once for all their answers, only wanted logits are made, metrics are kept per
    task, no model card is written into checkpoints, nothing is sent as telemetry.

    What the loss is made of, `wm_train.step_loss` says. Where examples have a neutral prompt,
    `wm_train.references` has to come before the first step.
    """

    def __init__(
        self,
        *args: Any,
        nll_scope: Scope,
        twins: bool,
        pack_tokens: int,
        share_prefixes: bool = True,
        task_weights: Mapping[str, float] | None = None,
        contrast: Contrast = "answers",
        sharpness: Mapping[str, float] | None = None,
        neutral_weight: float = 0.0,
        head_chunk: int | None = None,
        **kwargs: Any,
    ) -> None:
        self._twins = twins
        device: str = kwargs["args"].device.type
        self._head_chunk = head_chunk or chunk_on(device)
        self.sharing_refused: str | None = None
        tokenizer, model = kwargs["processing_class"], kwargs["model"]
        self.attention: str = model.config._attn_implementation
        self.packing = Packing.of(
            pack_tokens,
            nll_scope=nll_scope,
            contrast=contrast,
            share_prefixes=share_prefixes,
            attention=self.attention,
            device=device,
            pad_id=tokenizer.pad_token_id or 0,  # any will do: the mask hides it, none predicts
        )
        # TRL maps three functions over the rows, each of which leaves ours as they are, and writes
        # a copy of the table to the disk each time: it gets one row to do that with.
        pairs: Dataset = kwargs.pop("train_dataset")
        super().__init__(
            *args, data_collator=self._collate, train_dataset=pairs.select([0]), **kwargs
        )
        self.train_dataset = pairs
        if is_sharded(model):
            self.args.save_only_model = False  # ShardedState saves what Trainer would not
        # What autocast is for: by the arguments, or by TRL's own around a quantised base.
        self._half = bool(self.args.bf16) or self._peft_has_been_casted_to_bf16
        if self._peft_has_been_casted_to_bf16:
            adapter.in_float32(cast(nn.Module, self.model))
        adapter.embeddings_as_head(cast(nn.Module, self.model))
        self.step_loss = StepLoss(
            beta=self.beta,
            nll_scope=nll_scope,
            contrast=contrast,
            weights=self._of_tasks(task_weights),
            sharpness=self._of_tasks(sharpness),
            neutral_weight=neutral_weight,
            meter=Meter(),
        )

    def _of_tasks(self, values: Mapping[str, float] | None) -> Tensor:
        given = values or {}
        return torch.tensor([given.get(t, 1.0) for t in TASKS], device=self.accelerator.device)

    def _collate(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, list[Pack]]:
        return {"packs": self.packing.packs(examples)}

    def stop_sharing(self, why: str) -> None:
        """Give every sequence a row of its own from now on, padded to the longest of its pack."""
        self.sharing_refused = why
        self.packing = replace(self.packing, shared=False)

    def use_sdpa(self) -> None:
        """Leave flex_attention, and with it rows that are longer than sdpa should have them."""
        self.attention = cast(Any, self.model).config._attn_implementation = "sdpa"
        self.packing = replace(self.packing, whole_row=False)

    def tokenize_row(
        self, feature: dict[str, Any], model: nn.Module | None = None
    ) -> dict[str, Any]:
        """Nothing to do: TRL's own would append a second end token and truncate answers."""
        return feature

    def _get_train_sampler(self, train_dataset: Any = None) -> TwinSampler:
        data = cast(Any, self.train_dataset if train_dataset is None else train_dataset)
        seed = self.args.data_seed if self.args.data_seed is not None else self.args.seed
        self._order = TwinSampler(columns.values(data, "row_id"), seed, self._twins)
        return self._order

    def seen(self) -> set[int]:
        """Numbers of the examples that training comes to, from its first step to its last."""
        size, a = len(cast(Any, self.train_dataset)), self.args
        batch = a.per_device_train_batch_size * cast(int, self.accelerator.num_processes)
        steps = a.max_steps if a.max_steps > 0 else math.ceil(a.num_train_epochs * size / batch)
        return set(itertools.islice(self._get_train_sampler(), steps * batch))

    def _run_epoch(self, *args: Any, epoch: int, **kwargs: Any) -> None:
        """One pass over the data in its own order.

        Where several processes resume in the middle of a pass, accelerate's wrappers hide the
        sampler from Trainer, and it would yield the first pass's order again.
        """
        self._order.set_epoch(epoch)
        super()._run_epoch(*args, epoch=epoch, **kwargs)

    # ----------------------------------------------------------------------------------------- step
    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Gradients of one optimizer step: all packs of this device's batch, added up."""
        model.train()
        packs = cast("list[Pack]", self._prepare_inputs(inputs)["packs"])
        # PEFT makes a float32 copy of every input of an adapter, of which autocast makes another in
        # bfloat16: in and out of the step alike, an eighth of its operations on Qwen3's 28 layers.
        with disable_input_dtype_casting(model, active=self._half):
            return self._all_packs(model, packs)

    def _all_packs(self, model: nn.Module, packs: list[Pack]) -> Tensor:
        pairs, tokens, passes = self._of_all_devices(packs)
        total = torch.zeros((), device=self.accelerator.device)
        for number in range(passes):
            # Devices wait for each other in a sharded forward pass, so all make as many: one that
            # is done repeats its last pack with no weight.
            spent = number >= len(packs)
            pack = packs[-1 if spent else number]
            last = number + 1 == passes
            with nullcontext() if last else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss = self._pack_loss(model, pack, pairs, tokens, spent)
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss of a batch in one graph, with no gradient taken; `training_step` takes them."""
        packs: list[Pack] = inputs["packs"]
        pairs, tokens, _ = self._of_all_devices(packs)
        with self.compute_loss_context_manager():
            losses = [self._pack_loss(model, pack, pairs, tokens) for pack in packs]
        total = torch.stack(losses).sum()
        return (total, {}) if return_outputs else total

    def _pack_loss(
        self, model: nn.Module, pack: Pack, pairs: int, tokens: int, spent: bool = False
    ) -> Tensor:
        """This pack's part of the step's loss; `pairs` and `tokens` count the whole step."""
        logps = self.edge_logps(model, pack)
        if spent:
            return logps.sum() * 0
        # Gradients are averaged over devices.
        return self.step_loss(logps, pack, pairs, tokens) * self.accelerator.num_processes

    def edge_logps(self, model: nn.Module, pack: Pack) -> Tensor:
        """Log-probability of each token that the pack wants predicted, shape (edges,)."""
        unwrapped = cast(Any, self.accelerator.unwrap_model(model, keep_torch_compile=True))
        mask = model_mask(pack, self.attention, unwrapped.dtype)
        positions = {"position_ids": pack.positions} if pack.shared else {}
        with (
            self._autocast(),
            token_head(unwrapped.get_output_embeddings(), pack, self._head_chunk),
        ):
            return model(
                input_ids=pack.ids, attention_mask=mask, use_cache=False, **positions
            ).logits

    def _of_all_devices(self, packs: list[Pack]) -> tuple[int, int, int]:
        """Pairs and chosen tokens of the step over all devices, and the most packs on one."""
        pairs = sum(pack.pairs for pack in packs)
        tokens = sum(len(pack.text_edges) for pack in packs)
        if self.accelerator.num_processes == 1:
            return pairs, tokens, len(packs)
        mine = torch.tensor([[pairs, tokens, len(packs)]], device=self.accelerator.device)
        counts = cast(Tensor, self.accelerator.gather(mine))  # (devices, 3)
        return int(counts[:, 0].sum()), int(counts[:, 1].sum()), int(counts[:, 2].max())

    def _autocast(self) -> AbstractContextManager[Any]:
        # TRL casts a quantised model's adapter to bfloat16 and then wants autocast around it.
        cast_by_trl = self._peft_has_been_casted_to_bf16
        if not cast_by_trl:
            return nullcontext()
        return torch.autocast(self.accelerator.device.type, dtype=torch.bfloat16)

    # -------------------------------------------------------------------------------- side effects
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the means of each task since the last line; every process must come here."""
        if "loss" in logs:
            logs |= self.step_loss.meter.take(self.accelerator.reduce)
        super().log(logs, start_time)

    def _send_telemetry(self) -> None:
        """Nothing is sent: a run must not depend on, or tell, anyone it was not asked to."""
