"""Memory and computing of a training step, by part. Plain arithmetic: allocates nothing.

The figures are estimates for the planning of a run. Activations are counted as what autograd keeps
of a Qwen3 or Llama layer (a test holds the count to what it really keeps); kernels' work space and
fragmentation are not in them.
"""

from __future__ import annotations

from dataclasses import dataclass

from wm_train.config import TrainConfig
from wm_train.logps import chunk_on
from wm_train.shapes import Shape

GIB = 2**30
FLOAT32, BFLOAT16 = 4, 2  # bytes
NF4 = 1 / 2 + 1 / 64 + FLOAT32 / (64 * 256)  # with a byte for each scale, and the scales' scales
ADAM_STATES = 2
EVALUATION = "answers in evaluation"
GATHERED = "gathered for a pass"
WHOLE = "whole model in evaluation"


@dataclass(frozen=True)
class Load:
    """What an epoch's steps compute, in tokens of one step."""

    tokens: float  # through the body, prefixes shared
    predicted: float  # through the head
    longest: int  # of a row of a pass
    sequence: int  # the longest prompt with its answer
    prompt: int  # the longest one that asks for a text
    mean_context: float  # tokens that a token looks back on


def memory(
    config: TrainConfig, shape: Shape, load: Load, devices: int = 1, device: str = "cuda"
) -> dict[str, float]:
    """GiB on the fullest device, by part; `devices` share what `model.sharded` divides."""
    width = BFLOAT16 if config.model.precision == "bfloat16" else FLOAT32
    frozen = shape.parameters if config.model.lora else 0
    learnt = shape.trainable
    parts_of_each = devices if config.model.sharded else 1
    weights = frozen * weight_bytes(config, device) + learnt * FLOAT32
    if config.model.four_bit:
        weights = shape.body * NF4 + shape.embeddings * width + learnt * FLOAT32
    tokens = max(min(config.optim.pack_tokens, load.tokens), load.longest)
    parts = {
        "weights": weights / parts_of_each,
        "gradients": learnt * FLOAT32 / parts_of_each,
        "optimizer": learnt * FLOAT32 * ADAM_STATES / parts_of_each,
        "activations": tokens * activations(config, shape, width, device),
        "attention mask": tokens * load.longest,
        "logits": head_bytes(shape, width, trained=not config.model.lora, device=device),
        EVALUATION: evaluation_bytes(config, shape, load, width),
    }
    if config.model.sharded:
        parts[GATHERED] = gathered_bytes(shape, width)
        parts[WHOLE] = shape.parameters * width
    elif width < weight_bytes(config, device) and not config.model.four_bit:
        parts["weights in bfloat16"] = shape.parameters * BFLOAT16
    return {part: size / GIB for part, size in parts.items()}


def gathered_bytes(shape: Shape, width: int) -> float:
    """What sharded layers have whole in a pass: embeddings, head, this layer and the next one.

    And of the largest of them its gradient, and that in float32, in which gradients are summed.
    """
    ends = shape.embeddings
    largest = max(shape.largest, shape.config.vocab_size * shape.config.hidden_size)
    return (ends + 2 * shape.largest) * width + largest * (width + FLOAT32)


def peak(parts: dict[str, float]) -> float:
    """What is needed at once: an evaluation's cache comes when a step's own tensors are gone."""
    staying = sum(parts.values()) - _step(parts) - _evaluation(parts)
    return staying + max(_step(parts), _evaluation(parts))


def largest_field(parts: dict[str, float]) -> str:
    """The field of the config that bounds what is needed at once."""
    return "evaluation.batch_size" if _evaluation(parts) > _step(parts) else "optim.pack_tokens"


def _step(parts: dict[str, float]) -> float:
    return sum(parts.get(n, 0) for n in ("activations", "attention mask", "logits", GATHERED))


def _evaluation(parts: dict[str, float]) -> float:
    return parts[EVALUATION] + parts.get(WHOLE, 0)


def evaluation_bytes(config: TrainConfig, shape: Shape, load: Load, width: int) -> float:
    """Keys and values of a batch of answers while they are written, each as long as it may be."""
    c, e = shape.config, config.evaluation
    length = max(load.sequence, load.prompt + (e.max_new_tokens or config.data.max_tokens))
    return e.batch_size * length * shape.layers * 2 * c.num_key_value_heads * c.head_dim * width


def weight_bytes(config: TrainConfig, device: str) -> int:
    """Of an element of the base: float32 under autocast, but for a frozen one on a GPU."""
    half = config.model.precision == "bfloat16"
    return BFLOAT16 if half and config.model.lora and device == "cuda" else FLOAT32


def activations(config: TrainConfig, shape: Shape, width: int, device: str = "cuda") -> float:
    """Bytes that the backward pass needs of one token; `width` bytes an element."""
    m = config.model
    layer = layer_activations(shape, width, m.lora is not None, m.four_bit)
    if m.gradient_checkpointing:
        # What goes from layer to layer has the widest type that is added to it: the weights', or
        # with four bits the norms'.
        each = FLOAT32 if m.four_bit else weight_bytes(config, device)
        return shape.layers * shape.config.hidden_size * each + layer
    return shape.layers * layer


def layer_activations(shape: Shape, width: int, lora: bool, four_bit: bool = False) -> float:
    """Bytes that autograd keeps of one token in one layer.

    Norms compute in float32. A frozen weight does not ask for its input; an adapter does. Under
    four bits TRL has the norms' weights in float32, and a linear layer answers in its input's type.
    """
    c = shape.config
    d, inner = c.hidden_size, c.intermediate_size
    q, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    half = width != FLOAT32
    normed = 2 * d + (q + kv if c.model_type == "qwen3" else 0)
    rotary = 0 if c.model_type == "qwen3" else width * (q + kv)
    attention = width * 5 * q  # queries, output; keys and values repeated for every head
    if lora:
        norms = normed * (FLOAT32 if half else 2 * FLOAT32)
        mlp = (FLOAT32 if four_bit else width) * (3 if half else 4) * inner
        adapters = width * (5 * d + q + inner) if half else 0  # an input for each linear layer
        return norms + rotary + attention + mlp + adapters
    norms = normed * 3 * FLOAT32 + (width * 2 * (d + q + kv) if half else 0)
    return norms + rotary + attention + width * 4 * inner


def head_bytes(shape: Shape, width: int, trained: bool, device: str = "cuda") -> float:
    """Of one chunk of the head: logits, their softmax, and the weights in the logits' type."""
    vocab, d = shape.config.vocab_size, shape.config.hidden_size
    chunk = chunk_on(device) * vocab * (2 * FLOAT32 + width)
    return chunk + (vocab * d * width if trained and width != FLOAT32 else 0)


def flops(config: TrainConfig, shape: Shape, load: Load, recomputed: bool = True) -> float:
    """Floating-point operations of one step over all devices.

    A token costs 2 a parameter forwards, as much for its own gradient, and as much again for the
    weights' where they are trained; recomputing repeats the forward pass. Without `recomputed`:
    what the model needs, whatever is computed again to save memory.
    """
    trained = config.model.lora is None
    again = 1 if config.model.gradient_checkpointing and recomputed else 0
    passes = 1 + (2 if trained else 1) + again
    c = shape.config
    attention = 4 * shape.layers * c.num_attention_heads * c.head_dim * load.mean_context
    adapters = 0 if trained else 6 * shape.trainable
    body = load.tokens * (passes * (2 * shape.body + attention) + adapters)
    # A trained head is computed again backwards, and one under an adapter; a frozen one leaves its
    # slope behind instead.
    head_again = recomputed and (trained or shape.adapted_head)
    a_weight = (6 if trained else 4) + (2 if head_again else 0)
    head = load.predicted * a_weight * c.vocab_size * c.hidden_size
    return body + head


def host_gib(config: TrainConfig, shape: Shape) -> float:
    """What a checkpoint of a sharded model takes of the main process's host, which gathers it."""
    return shape.parameters * FLOAT32 / GIB if config.model.sharded else 0.0


def checkpoint_gib(shape: Shape) -> float:
    """One checkpoint on the disk: trained weights and the optimizer's two states of each."""
    return shape.trainable * FLOAT32 * (1 + ADAM_STATES) / GIB
