"""What stderr shows while an evaluation runs: a bar, and lines beside it. Prints no figure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager


def say(line: str, shown: bool) -> None:
    """One line on stderr, beside the bar; nothing when not shown, or where there is nothing."""
    if shown and line:
        print(line, file=sys.stderr)


@contextmanager
def progress_bar(total: int, shown: bool) -> Generator[Callable[[int], None]]:
    """A bar on stderr that the yielded function advances; nothing at all when not shown."""
    if not shown:
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        "evaluating",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.advance(task, done)
