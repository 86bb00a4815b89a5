"""What an evaluation asks of a model, and what it gets back. Imports no model library.

The one interface between the evaluation and whatever answers: Hugging Face models, vLLM, or a
script in a test.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from wm_manifest import Decoding


@dataclass(frozen=True)
class Request:
    """One prompt to be answered once. Requests of one `family` share the beginning of a prompt."""

    id: str
    messages: tuple[Mapping[str, str], ...]
    seed: int
    max_new_tokens: int
    family: str
    greedy: bool = False  # the most likely tokens, whatever is sampled elsewhere
    options: tuple[str, ...] = ()  # words whose log-probability as the answer is wanted


@dataclass(frozen=True)
class Reply:
    """One answer: its text without the end of turn, and how it came to its end."""

    text: str
    tokens: int  # sampled, the end of turn not counted
    stopped: bool  # the model ended its turn itself; False: cut at max_new_tokens
    options: Mapping[str, float] = field(default_factory=lambda: {})  # natural logarithms


@dataclass(frozen=True)
class Continuation:
    """A prompt and an answer that somebody gave to it: how likely is it here?"""

    id: str
    messages: tuple[Mapping[str, str], ...]
    answer: str


@dataclass(frozen=True)
class Likelihood:
    """Natural logarithm of the answer's probability given its prompt, the end of turn left out."""

    log_likelihood: float
    tokens: int  # of the answer, in the vocabulary of the model that was asked


@runtime_checkable
class Generator(Protocol):
    """Whatever answers requests."""

    def answer(
        self, requests: Sequence[Request], decoding: Decoding, done: Collection[str] = ()
    ) -> Iterator[dict[str, Reply]]:
        """Yield replies by request id, batch by batch, each request answered once.

        `done` names requests that were answered before: a batch that holds nothing else is left
        out, and the others are asked whole, so that the rest is answered in the same batches.
        """
        ...

    def likelihoods(
        self, asked: Sequence[Continuation], done: Collection[str] = ()
    ) -> Iterator[dict[str, Likelihood]]:
        """Yield the likelihood of each answer by id, batch by batch; `done` as for `answer`."""
        ...
