"""What is asked of a model and what comes back. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decoding:
    """How tokens are drawn. The bias is added before temperature and truncation."""

    bias: float = 1.0  # logits, towards even for red and towards odd for blue
    temperature: float = 0.8
    top_k: int = 50
    top_p: float = 0.95
    max_tokens: int = 96  # of the model's tokenizer, per answer


@dataclass(frozen=True)
class Request:
    """One answer to be sampled. Equal requests give equal answers, up to rounding in a batch."""

    prompt: str  # rendered: what the model reads
    sign: int  # +1 red, -1 blue
    seed: str


@dataclass(frozen=True)
class Sampled:
    """An answer as it came: `ended` if the model ended its turn before the limit."""

    text: str
    ended: bool
    ends: list[int]  # (tokens,) characters of `text` up to and with each token
    logprobs: list[float]  # (tokens,) under the model without bias, temperature or truncation
