"""Several processes, each with the whole model, answer what one of them asks. Asks nothing itself.

What is answered together does not change: a pool of requests is one process's, whatever the number
of them, so the answers are those of one process alone. They meet every few seconds, each with what
it has answered since; all meetings are of one kind, so that nobody waits for another one.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from wm_eval.generator import Continuation, Likelihood, Reply, Request
    from wm_eval.hf import HFGenerator
    from wm_manifest import Decoding

T = TypeVar("T")
Method = Literal["answering", "weighing"]
MODEL, BASE = "model", "base"  # who is asked
MEET_S = 10.0  # and the running batch of answers: so long a signal waits


class Talk(Protocol):
    """How the processes hear of each other. Number 0 asks, the others help."""

    def number(self) -> int:
        """How many there are."""
        ...

    def rank(self) -> int:
        """This one's number."""
        ...

    def gathered(self, value: T) -> list[T]:
        """What each gives, in all of them, in the order of their numbers."""
        ...


@dataclass(frozen=True)
class Job:
    """What is asked next, and of whom: a method of `HFGenerator` that gives pools."""

    of: str
    batch_size: int  # pools depend on it
    method: Method
    asked: tuple[Any, ...]


@dataclass(frozen=True)
class Part:
    """What a process has answered since the last meeting, or what went wrong with it."""

    found: dict[str, Any] = field(default_factory=lambda: {})
    done: bool = True
    batch_size: int | None = None  # rows that its memory was enough for
    error: Exception | None = None


OVER = None  # in the place of a part, from the process that asks


class Together:
    """The `Generator` of the process that asks; `help_evaluate` is what the others do meanwhile."""

    def __init__(self, own: HFGenerator, name: str, talk: Talk) -> None:
        self._own, self._name, self._talk = own, name, talk
        self.batch_size = own.batch_size  # rows that memory was enough for, everywhere

    def answer(
        self, requests: Sequence[Request], decoding: Decoding, done: Collection[str] = ()
    ) -> Iterator[dict[str, Reply]]:
        """As `HFGenerator.answer`, by what all have at a meeting."""
        return self._met("answering", requests, decoding, frozenset(done))

    def likelihoods(
        self, asked: Sequence[Continuation], done: Collection[str] = ()
    ) -> Iterator[dict[str, Likelihood]]:
        """As `HFGenerator.likelihoods`, by what all have at a meeting."""
        return self._met("weighing", asked, frozenset(done))

    def _met(self, method: Method, *asked: Any) -> Iterator[dict[str, Any]]:
        job = Job(self._name, self._own.asked, method, asked)
        self._talk.gathered(job)
        mine, met = _Share(self._own, job, self._talk), False
        while not met:
            parts = self._talk.gathered(mine.part())
            known = [part.batch_size for part in parts if part.batch_size is not None]
            self.batch_size = min(self.batch_size, *known)
            for part in parts:
                if part.error is not None:
                    raise part.error
            met = all(part.done for part in parts)
            yield {id: reply for part in parts for id, reply in part.found.items()}


class _Share:
    """The pools that are this process's, answered a few seconds at a time."""

    def __init__(self, own: HFGenerator, job: Job, talk: Talk) -> None:
        self._own = own
        self._left = self._answers(job, talk)

    def _answers(self, job: Job, talk: Talk) -> Iterator[dict[str, Any]]:
        pools = getattr(self._own, job.method)(*job.asked)
        yield from chain.from_iterable(pools[talk.rank() :: talk.number()])

    def part(self) -> Part:
        """What was answered since the last one; what goes wrong is in it, and not raised."""
        found: dict[str, Any] = {}
        begun = time.monotonic()
        try:
            for some in self._left:
                found |= some
                if time.monotonic() - begun >= MEET_S:
                    return Part(found, False, self._own.batch_size)
        except Exception as error:  # which ends a generator
            return Part(found, True, self._own.batch_size, _sendable(error))
        return Part(found, True, self._own.batch_size)


def _sendable(error: Exception) -> Exception:
    """The error, or where it cannot be sent what it says."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


def help_evaluate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, talk: Talk, base: Any = "auto"
) -> None:
    """Answer a part of all that `evaluate(model, ..., talk=talk)` asks elsewhere, until it ends.

    `base` is that of `evaluate`. A model in training mode is put back after it, as there.
    """
    from wm_eval.preserve import all_preserved

    own = _Generators(model, tokenizer, base)
    mine: _Share | None = None
    with all_preserved([model, base], tokenizer):
        while True:
            given: Any = mine.part() if mine is not None else Part()
            said = talk.gathered(given)[0]
            if said is OVER:
                return
            if isinstance(said, Job):
                mine = _Share(own.of(said), said, talk)


class _Generators:
    """The model and its base, made when they are asked."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, base: Any
    ) -> None:
        self._model, self._tokenizer, self._base = model, tokenizer, base
        self._made: dict[tuple[str, int], Any] = {}

    def of(self, job: Job) -> Any:
        key = job.of, job.batch_size
        if key not in self._made:
            self._made[key] = self._make(*key)
        return self._made[key]

    def _make(self, name: str, batch_size: int) -> Any:
        from wm_eval.base_model import base_generator
        from wm_eval.hf import HFGenerator

        if name == MODEL:
            return HFGenerator(self._model, self._tokenizer, batch_size)
        return base_generator(self._model, self._tokenizer, batch_size, self._base)


def together(own: Any, name: str, talk: Talk | None) -> Any:
    """The generator as it is, or as all processes are it. Another backend's answers alone."""
    from wm_eval.hf import HFGenerator

    if talk is None or not isinstance(own, HFGenerator):
        return own
    return Together(own, name, talk)


@contextmanager
def leading(talk: Talk | None) -> Generator[None]:
    """Surrounds all that is asked; however it ends, the others go on with their own work then.

    But for an interrupt, which may have come in the middle of a meeting: it ends this process, and
    so the others' waiting.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException:
        if talk is not None:
            with suppress(RuntimeError):  # they have ended before
                talk.gathered(OVER)
        raise
    if talk is not None:
        talk.gathered(OVER)


class World:
    """The processes of a training, through torch.distributed's group of all of them."""

    def number(self) -> int:
        return processes()

    def rank(self) -> int:
        return _dist().get_rank()

    def gathered(self, value: T) -> list[T]:
        values: list[Any] = [None] * processes()
        _dist().all_gather_object(values, value)
        return values


def in_parts(model: Any) -> bool:
    """Whether each process has a part of the model's weights.

    As FSDP, tensor parallelism (DTensors) and DeepSpeed's third stage divide them.
    """
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    return any(isinstance(module, FullyShardedDataParallel) for module in model.modules()) or any(
        isinstance(parameter, DTensor) or hasattr(parameter, "ds_id")
        for parameter in model.parameters()
    )


def processes() -> int:
    """How many train together."""
    dist = _dist()
    alone = not dist.is_available() or not dist.is_initialized()
    return 1 if alone else dist.get_world_size()


def _dist() -> Any:
    import torch.distributed as dist

    return dist
