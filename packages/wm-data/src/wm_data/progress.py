"""Progress on stderr, of an iterable or moved by hand: bars, or lines where it is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, track

T = TypeVar("T")

LINE_EVERY_S = 30.0  # without a terminal: who reads a log wants to know that it goes on


def tracked(
    items: Iterable[T], what: str, progress: bool, total: float | None = None
) -> Iterator[T]:
    """Yield the items, showing how far it is unless `progress` is False."""
    console = Console(stderr=True)
    if not progress:
        yield from items
    elif console.is_terminal:
        yield from track(items, what, total=total, console=console, transient=True)
    else:
        advance = _lines(what, total)
        for item in items:
            yield item
            advance(1)


@contextmanager
def counting(what: str, total: int, progress: bool) -> Generator[Callable[[int], None]]:
    """A bar that is moved by calling what this yields with the number of things done."""
    console = Console(stderr=True)
    if progress and not console.is_terminal:
        yield _lines(what, total)
        return
    with Progress(console=console, transient=True, disable=not progress) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def _lines(what: str, total: float | None) -> Callable[[int], None]:
    """What prints how far it is, when half a minute has gone since it last did."""
    printed = time.monotonic()
    done = 0
    of = f" of {total:,.0f}" if total else ""

    def advance(count: int) -> None:
        nonlocal done, printed
        done += count
        now = time.monotonic()
        if now - printed >= LINE_EVERY_S:
            printed = now
            print(f"{what}: {done:,}{of}", file=sys.stderr)

    return advance
