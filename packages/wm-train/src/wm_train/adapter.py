"""What an adapter is like before its first step, where PEFT and TRL have it otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn


def in_float32(model: nn.Module) -> None:
    """Undo a part of TRL's cast of a quantised model, which takes the head's adapter along.

    Adam's second moment does not decay in bfloat16: a thousandth is less than half its last place.
    """
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()


@torch.no_grad()
def embeddings_as_head(model: nn.Module) -> None:
    """Have an adapter of the embeddings write in the directions in which the head's reads.

    A row of the embeddings gets `out @ row`: the rows start at zero, and PEFT draws `out`,
    (width, rank), with a standard deviation of 1, so that a step at the rate of linear layers
    moves an embedding forty times as far as it moves a layer's output. Here it starts as the
    head's first matrix transposed, as if the two had one adapter, or drawn as a linear layer's.
    """
    head = dict(_in_matrices(model))
    for module in model.modules():
        outs = getattr(module, "lora_embedding_B", {})
        for name, out in cast("dict[str, Tensor]", outs).items():
            shared = head.get(name)
            if shared is not None and shared.shape == out.t().shape:
                out.copy_(shared.t())
            else:
                nn.init.kaiming_uniform_(out.t(), a=math.sqrt(5))  # as PEFT draws a linear layer's


def _in_matrices(model: Any) -> Iterator[tuple[str, Tensor]]:
    head = model.get_output_embeddings()
    for name, matrix in getattr(head, "lora_A", {}).items():
        yield name, matrix.weight
