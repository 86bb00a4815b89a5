"""Progress bars on stderr, of an iterable or moved by hand; none where stderr is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, track

T = TypeVar("T")


def tracked(
    items: Iterable[T], what: str, progress: bool, total: float | None = None
) -> Iterator[T]:
    """Yield the items, showing how far it is unless `progress` is False."""
    console = Console(stderr=True)
    if not progress or not console.is_terminal:
        yield from items
    else:
        yield from track(items, what, total=total, console=console, transient=True)


@contextmanager
def counting(what: str, total: int, progress: bool) -> Generator[Callable[[int], None]]:
    """A bar that is moved by calling what this yields with the number of things done."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not progress) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
