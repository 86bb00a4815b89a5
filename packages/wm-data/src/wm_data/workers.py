"""Runs a function over parts of the input in other processes, in order. Knows nothing of rows."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing import get_context, parent_process
from typing import TypeVar

from wm_data.errors import WmDataError

K = TypeVar("K")  # kept here
A = TypeVar("A")  # sent to the function
R = TypeVar("R")


def in_order(
    work: Callable[[A], R], parts: Iterable[tuple[K, A]], workers: int, alone: int
) -> Iterator[tuple[K, R]]:
    """Yield what is kept of each part with what `work` makes of the rest, as if called here.

    The first `alone` parts are worked on here, so that a short input starts no process. The others
    are started anew and import the caller's main module: that has to be guarded, as for all of
    `multiprocessing`. Only a few parts more than there are workers are in memory.
    """
    left = iter(parts)
    for kept, sent in islice(left, alone if workers > 1 else None):
        yield kept, work(sent)
    more = next(left, None)
    if more is None:
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin)
    waiting: deque[tuple[K, Future[R]]] = deque()
    try:
        for kept, sent in chain((more,), left):
            waiting.append((kept, pool.submit(work, sent)))
            if len(waiting) > 2 * workers:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    except BrokenProcessPool as error:
        raise WmDataError(
            "a worker process ended before its work was done; it may have run out of memory: "
            "pass --workers 1"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _result(kept: K, future: Future[R]) -> tuple[K, R]:
    return kept, future.result()


def _begin() -> None:
    """Ctrl-C is the main process's to answer; when that one is killed, its workers end too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
