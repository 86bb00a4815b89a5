"""Has a model's head answer with log-probabilities of a pack's tokens. Computes none itself."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeGuard

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from wm_train.logps import CHUNK, adapted_logps, linear_logps, module_logps

if TYPE_CHECKING:
    from wm_train.packing import Pack


@contextmanager
def token_head(head: nn.Module, pack: Pack, chunk: int = CHUNK) -> Generator[None]:
    """Let `head` answer with log-probabilities of the pack's edges, shape (edges,), not logits.

    The model's own forward, and all that wraps it (adapters, DDP, FSDP, autocast), stay as they
    are: only what the head computes from the hidden states (rows, length, width) changes.
    """
    compute = head.forward

    def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        states = hidden.flatten(0, -2)[pack.sources]  # (edges, width)
        if _is_plain(head):
            return linear_logps(states, head.weight, pack.targets, chunk)
        if (low_rank := _low_rank(head, states)) is not None:
            return adapted_logps(states, *low_rank, pack.targets, chunk)
        return module_logps(states, compute, pack.targets, chunk)

    own = head.__dict__.get("forward")  # hooks of accelerate put one there
    head.forward = forward
    try:
        yield
    finally:
        del head.forward
        if own is not None:
            head.forward = own


def _low_rank(head: Any, states: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Frozen weight, states after the first matrix and second matrix of a plain LoRA layer."""
    names: list[str] = getattr(head, "active_adapters", [])
    base: Any = getattr(head, "base_layer", None)
    frozen = type(base) is nn.Linear and not _has_bias(base) and not base.weight.requires_grad
    if not frozen or len(names) != 1 or head.merged or head.disable_adapters:
        return None
    name = names[0]
    if name in head.lora_variant or head.lora_bias[name] or name not in head.lora_A:
        return None  # DoRA and the like
    # As PEFT does: its matrices are float32 over a bfloat16 base, and autocast is not always there.
    cast = head._cast_input_dtype(states, head.lora_A[name].weight.dtype)
    inputs = head.lora_dropout[name](cast)
    low = head.lora_A[name](inputs) * head.scaling[name]
    return base.weight, low, head.lora_B[name].weight


def _is_plain(head: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether it is nn.Linear and nothing more: FSDP2 gives what it divides a class of its own."""
    kind: Any = type(head)
    if isinstance(head, FSDPModule):
        kind = next(base for base in kind.__mro__ if not issubclass(base, FSDPModule))
    return kind is nn.Linear and not _has_bias(head)


def _has_bias(layer: Any) -> bool:
    return layer.bias is not None
