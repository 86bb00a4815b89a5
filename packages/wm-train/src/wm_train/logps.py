"""Log-probabilities of chosen tokens without the logits: in chunks, recomputed backwards.

Logits over a vocabulary of 151,936 are a step's largest tensor by far. Here at most a chunk of
them exists at a time: forwards a chunk gives its tokens' log-probabilities and goes, backwards it
is made again. Knows no loss: ORPO's gradient at a token depends on its whole answer, so it cannot
be made in the forward pass as fused cross-entropy kernels do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

CHUNK = 256  # tokens: 148 MiB of float32 logits at Qwen3's vocabulary
GPU_CHUNK = 2048  # with which the GPU's figures in docs/experiments.md were measured


def chunk_on(device: str) -> int:
    """Tokens whose logits exist at a time: a GPU wants large products, a CPU has its caches.

    >>> chunk_on("cuda"), chunk_on("cpu")
    (2048, 256)
    """
    return GPU_CHUNK if device == "cuda" else CHUNK


def linear_logps(states: Tensor, weight: Tensor, targets: Tensor, chunk: int = CHUNK) -> Tensor:
    """log softmax(states @ weight.T) at `targets`, shape (tokens,), float32 or wider."""
    if torch.is_autocast_enabled(states.device.type):
        states = states.to(torch.get_autocast_dtype(states.device.type))
    return _LinearLogps.apply(states, weight, targets, chunk)  # pyright: ignore[reportReturnType]


def adapted_logps(
    states: Tensor, weight: Tensor, low: Tensor, up: Tensor, targets: Tensor, chunk: int = CHUNK
) -> Tensor:
    """log softmax(states @ weight.T + low @ up.T) at `targets`: a LoRA on a frozen head.

    `low`, (tokens, rank), is what the adapter's first matrix makes of the states, scaled; `up`,
    (vocab, rank), is its second.
    """
    if torch.is_autocast_enabled(states.device.type):
        states = states.to(torch.get_autocast_dtype(states.device.type))
    return _AdaptedLogps.apply(states, weight, low.to(states.dtype), up, targets, chunk)  # pyright: ignore[reportReturnType]


def module_logps(states: Tensor, head: Any, targets: Tensor, chunk: int = CHUNK) -> Tensor:
    """The same through any head, an adapter's for example."""

    def logps(part: Tensor, target: Tensor) -> Tensor:
        return _wide(head(part)).log_softmax(-1).gather(1, target[:, None]).squeeze(1)

    parts = [(states[at], targets[at]) for at in _spans(len(states), chunk)]
    return torch.cat([checkpoint(logps, *part, use_reentrant=False) for part in parts])  # pyright: ignore[reportArgumentType]


class _LinearLogps(torch.autograd.Function):
    """With z = W h and g the gradient of log p(target): dL/dz = g (onehot - p), in closed form.

    A frozen W needs no second pass: dL/dh is g times W[target] - sum_v p_v W_v, which the forward
    pass can leave behind, (tokens, width).
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, chunk: int) -> Tensor:
        learnt, trained, *_ = ctx.needs_input_grad
        wide = torch.float64 if states.dtype == torch.float64 else torch.float32
        logps = torch.empty(len(states), dtype=wide, device=states.device)
        norms = torch.empty_like(logps)  # log of the softmax's denominator
        slopes = torch.empty_like(states) if learnt and not trained else None
        with torch.autocast(states.device.type, enabled=False):
            matrix = weight.to(states.dtype)
            for at in _spans(len(states), chunk):
                logits = _wide(states[at] @ matrix.T)  # (chunk, vocab)
                norms[at] = torch.logsumexp(logits, -1)
                logps[at] = logits.gather(1, targets[at, None]).squeeze(1) - norms[at]
                if slopes is not None:
                    p = logits.sub_(norms[at, None]).exp_().to(states.dtype)
                    slopes[at] = torch.sub(matrix[targets[at]], p @ matrix)
        ctx.chunk = chunk
        ctx.save_for_backward(*((slopes,) if not trained else (states, weight, targets, norms)))
        return logps

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        if len(ctx.saved_tensors) == 1:
            (slopes,) = ctx.saved_tensors
            return (gradient[:, None] * slopes).to(slopes.dtype), None, None, None
        states, weight, targets, norms = ctx.saved_tensors
        matrix = weight.to(states.dtype)
        to_states = torch.empty_like(states)
        to_weight = torch.zeros_like(weight)
        for at in _spans(len(states), ctx.chunk):
            slope = _wide(states[at] @ matrix.T)
            slope.sub_(norms[at, None]).exp_().mul_(-gradient[at, None])
            slope[torch.arange(len(slope), device=slope.device), targets[at]] += gradient[at]
            slope = slope.to(states.dtype)
            to_states[at] = slope @ matrix
            _add_product(to_weight, slope, states[at])
        return to_states, to_weight, None, None


class _AdaptedLogps(torch.autograd.Function):
    """The same with z = W h + U l and W frozen: dL/dh, dL/dl and dL/dU from one dL/dz."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        low: Tensor,
        up: Tensor,
        targets: Tensor,
        chunk: int,
    ) -> Tensor:
        wide = torch.float64 if states.dtype == torch.float64 else torch.float32
        logps = torch.empty(len(states), dtype=wide, device=states.device)
        norms = torch.empty_like(logps)
        with torch.autocast(states.device.type, enabled=False):
            matrix, second = weight.to(states.dtype), up.to(states.dtype)
            for at in _spans(len(states), chunk):
                logits = _wide((states[at] @ matrix.T).addmm_(low[at], second.T))
                norms[at] = torch.logsumexp(logits, -1)
                logps[at] = logits.gather(1, targets[at, None]).squeeze(1) - norms[at]
        ctx.chunk = chunk
        ctx.save_for_backward(states, weight, low, up, targets, norms)
        return logps

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        states, weight, low, up, targets, norms = ctx.saved_tensors
        matrix, second = weight.to(states.dtype), up.to(states.dtype)
        to_states, to_low, to_up = map(torch.empty_like, (states, low, up))
        to_up.zero_()
        for at in _spans(len(states), ctx.chunk):
            slope = _wide((states[at] @ matrix.T).addmm_(low[at], second.T))
            slope.sub_(norms[at, None]).exp_().mul_(-gradient[at, None])
            slope[torch.arange(len(slope), device=slope.device), targets[at]] += gradient[at]
            slope = slope.to(states.dtype)
            to_states[at], to_low[at] = slope @ matrix, slope @ second
            _add_product(to_up, slope, low[at])
        return to_states, None, to_low, to_up, None, None


def _add_product(total: Tensor, slope: Tensor, states: Tensor) -> None:
    """total += slope.T @ states, without a second matrix of that size where types agree."""
    if total.dtype == states.dtype:
        total.addmm_(slope.T, states)
    else:
        total += slope.T @ states


def _spans(length: int, chunk: int) -> list[slice]:
    return [slice(start, start + chunk) for start in range(0, length, chunk)]


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
