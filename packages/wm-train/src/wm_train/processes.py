"""Several processes that train one run: the main one decides and writes, the others hear of it.

What they tell each other goes through a group of its own on the CPU. Waiting there is not bounded
as waiting in a training step is: an evaluation may take its time. Trains nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar, cast

from wm_train.errors import ConfigError, WmTrainError

T = TypeVar("T")

PATIENCE = timedelta(days=7)  # with a process that lives; one that died is noticed at once
# In training. NCCL's default is 10 minutes, and each checks a large dataset at its own speed.
STEP_PATIENCE = timedelta(hours=2)
LAST_WORD_S = 10.0  # for the others to hear that the main one ends
SHARDED = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}  # a launcher's
TRUE = ("1", "true", "yes", "on", "y", "t")  # as accelerate reads them
MIXED = "ACCELERATE_MIXED_PRECISION"  # what `accelerate launch` asks of a trainer


@dataclass(frozen=True)
class Ended:
    """The main process is about to end, with this exit code."""

    code: int


@cache
def _group() -> Any:
    """The group in which they talk, made on the first call in each; None for a process alone."""
    for name, what in SHARDED.items():  # a launcher says so to a process alone, too
        if os.environ.get(name, "").lower() in TRUE:
            raise ConfigError(
                f"the launcher asks for {what}, and wm-train divides the weights itself where "
                f"model.sharded says so: launch without it, or unset {name}"
            )
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    import torch
    import torch.distributed as dist
    from accelerate import PartialState

    # Joins the launcher's other processes; Trainer's arguments come later and take what is there.
    PartialState(cpu=not torch.cuda.is_available(), timeout=STEP_PATIENCE)
    return cast(Any, dist).new_group(backend="gloo", timeout=PATIENCE)


def check_precision(precision: str) -> None:
    """Raise `ConfigError` where the launcher asks for what the run is not to be computed in.

    It asks for "no" when it was told nothing, and bfloat16 goes by the configuration then.
    """
    asked = os.environ.get(MIXED, "").lower() or "no"
    if asked not in (("no",) if precision == "float32" else ("no", "bf16")):
        raise ConfigError(
            f"{MIXED} is {asked}, and model.precision is {precision}: "
            "launch without a mixed precision, or set model.precision to what you want"
        )


def number() -> int:
    """Processes that train this run."""
    return 1 if _group() is None else _dist().get_world_size()


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


def rank() -> int:
    """This process's number among them; 0 for the main one."""
    return 0 if _group() is None else _dist().get_rank()


def gathered(value: T) -> list[T]:
    """What each process gives, in all of them, in the order of their numbers."""
    if (group := _group()) is None:
        return [value]
    values: list[Any] = [None] * number()
    _dist().all_gather_object(values, value, group=group)
    return values


def share(value: T) -> T:
    """The main process's value, in all of them. In another one: ends it if the main one has."""
    if (group := _group()) is None:
        return value
    box: list[Any] = [value]
    _dist().broadcast_object_list(box, src=0, group=group)
    told = cast("T | Ended", box[0])
    if isinstance(told, Ended):
        if not is_main():
            raise SystemExit(told.code)
        return value
    return told


def of_main(compute: Callable[[], T]) -> T:
    """What the main process computes, in all of them."""
    if not is_main():
        return share(cast(T, None))
    with failure_told():
        return share(compute())


def highest(value: int) -> int:
    """The largest of all processes' values."""
    if (group := _group()) is None:
        return value
    import torch

    all_of_them = torch.tensor([value])
    _dist().all_reduce(all_of_them, op=_dist().ReduceOp.MAX, group=group)
    return int(all_of_them.item())


@contextmanager
def failure_told() -> Generator[None]:
    """Surrounds what the main process does while the others wait for it: they end if it fails."""
    try:
        yield
    except BaseException as error:
        tell_end(getattr(error, "exit_code", 1))
        raise


@contextmanager
def failing_together() -> Generator[None]:
    """Surrounds what all do at the same time: what goes wrong in one is raised in all."""
    try:
        yield
    except WmTrainError as error:
        gathered(str(error))
        raise
    for number, why in enumerate(gathered("")):
        if why:
            raise ConfigError(f"process {number}: {why}")


def tell_end(code: int) -> None:
    """Let the others end with `code`, where they listen; the launcher ends those that do not."""
    if _group() is None:
        return
    telling = threading.Thread(target=_tell, args=(Ended(code),), daemon=True)
    telling.start()
    telling.join(LAST_WORD_S)


def _tell(word: Ended) -> None:
    with suppress(RuntimeError):  # nobody is left
        share(word)


def hear_end() -> int:
    """Wait until the main process ends, and for its exit code.

    1 if it died without a word, or goes on: then this one is missing, and the launcher ends all.
    """
    try:
        share(None)
    except SystemExit as end:
        return int(cast(int, end.code))
    except RuntimeError:
        pass
    return 1


def _dist() -> Any:
    import torch.distributed as dist

    return dist
