"""Several processes, each with the whole model, answer what one of them asks. Asks nothing itself.

What is answered together does not change: a pool of requests is one process's, whatever the number
of them, so the answers are those of one process alone. After each round, a pool in each process,
the one that asks has all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from wm_eval.generator import Continuation, Likelihood, Reply, Request
    from wm_eval.hf import HFGenerator
    from wm_manifest import Decoding

T = TypeVar("T")
Method = Literal["answering", "weighing"]
MODEL, BASE = "model", "base"  # who is asked


class Talk(Protocol):
    """How the processes hear of each other. Number 0 asks, the others help."""

    def number(self) -> int:
        """How many there are."""
        ...

    def rank(self) -> int:
        """This one's number."""
        ...

    def share(self, value: T) -> T:
        """The asking process's value, in all of them."""
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


NEXT, OVER = "next round", None  # the other words that are shared


class Together:
    """The `Generator` of the process that asks; `help_evaluate` is what the others do meanwhile."""

    def __init__(self, own: HFGenerator, name: str, talk: Talk) -> None:
        self._own, self._name, self._talk = own, name, talk

    @property
    def batch_size(self) -> int:
        """Rows that memory was enough for, here."""
        return self._own.batch_size

    def answer(
        self, requests: Sequence[Request], decoding: Decoding, done: Collection[str] = ()
    ) -> Iterator[dict[str, Reply]]:
        """As `HFGenerator.answer`, a round at a time."""
        return self._rounds("answering", requests, decoding, frozenset(done))

    def likelihoods(
        self, asked: Sequence[Continuation], done: Collection[str] = ()
    ) -> Iterator[dict[str, Likelihood]]:
        """As `HFGenerator.likelihoods`, a round at a time."""
        return self._rounds("weighing", asked, frozenset(done))

    def _rounds(self, method: Method, *asked: Any) -> Iterator[dict[str, Any]]:
        self._talk.share(Job(self._name, self._own.asked, method, asked))
        pools = getattr(self._own, method)(*asked)
        for first in range(0, len(pools), self._talk.number()):
            self._talk.share(NEXT)
            yield _merged(self._talk.gathered(_made(pools, first)))


def help_evaluate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, talk: Talk, base: Any = "auto"
) -> None:
    """Answer a part of all that `evaluate(model, ..., talk=talk)` asks elsewhere, until it ends.

    `base` is that of `evaluate`. A model in training mode is put back after it, as there.
    """
    from wm_eval.preserve import all_preserved

    own = _Generators(model, tokenizer, base)
    pools: list[Iterator[dict[str, Any]]] = []
    place = talk.rank()
    with all_preserved([model, base], tokenizer):
        while (word := talk.share(cast("Job | str | None", OVER))) is not OVER:
            if isinstance(word, Job):
                pools, place = own.pools(word), talk.rank()
            else:
                talk.gathered(_made(pools, place))
                place += talk.number()


class _Generators:
    """The model and its base, made when they are asked."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, base: Any
    ) -> None:
        self._model, self._tokenizer, self._base = model, tokenizer, base
        self._made: dict[tuple[str, int], Any] = {}

    def pools(self, job: Job) -> list[Iterator[dict[str, Any]]]:
        key = job.of, job.batch_size
        if key not in self._made:
            self._made[key] = self._make(*key)
        return getattr(self._made[key], job.method)(*job.asked)

    def _make(self, name: str, batch_size: int) -> Any:
        from wm_eval.base_model import base_generator
        from wm_eval.hf import HFGenerator

        if name == MODEL:
            return HFGenerator(self._model, self._tokenizer, batch_size)
        return base_generator(self._model, self._tokenizer, batch_size, self._base)


def together(own: Any, name: str, talk: Talk | None) -> Any:
    """The generator as it is, or as all processes are it."""
    return Together(own, name, talk) if talk is not None else own


@contextmanager
def leading(talk: Talk | None) -> Generator[None]:
    """Surrounds all that is asked; however it ends, the others go on with their own work then."""
    try:
        yield
    except BaseException:
        if talk is not None:
            with suppress(RuntimeError):  # they have ended before
                talk.share(OVER)
        raise
    if talk is not None:
        talk.share(OVER)


def _made(pools: Sequence[Iterator[dict[str, Any]]], place: int) -> dict[str, Any] | Exception:
    """The answers of one pool; what went wrong, for the process that asks to raise."""
    found: dict[str, Any] = {}
    try:
        for some in pools[place] if place < len(pools) else ():
            found |= some
    except Exception as error:
        return error
    return found


def _merged(parts: Sequence[dict[str, Any] | Exception]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, Exception):
            raise part
        found |= part
    return found


class World:
    """The processes of a training, through torch.distributed's group of all of them."""

    def number(self) -> int:
        return processes()

    def rank(self) -> int:
        return _dist().get_rank()

    def share(self, value: T) -> T:
        box = [value]
        _dist().broadcast_object_list(box, src=0)
        return box[0]

    def gathered(self, value: T) -> list[T]:
        values: list[Any] = [None] * processes()
        _dist().all_gather_object(values, value)
        return values


def in_parts(model: Any) -> bool:
    """Whether each process has a part of the model's weights (FSDP, DeepSpeed's third stage)."""
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    sharded = (FSDPModule, FullyShardedDataParallel)
    return any(isinstance(module, sharded) for module in model.modules()) or any(
        hasattr(parameter, "ds_id") for parameter in model.parameters()
    )


def processes() -> int:
    """How many train together."""
    dist = _dist()
    alone = not dist.is_available() or not dist.is_initialized()
    return 1 if alone else dist.get_world_size()


def _dist() -> Any:
    import torch.distributed as dist

    return dist
