"""A progress bar on stderr around an iterable. Shows nothing where stderr is no terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

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
