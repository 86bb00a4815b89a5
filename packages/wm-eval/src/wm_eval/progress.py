"""What stderr shows while an evaluation runs: a bar, and lines beside it. Prints no figure."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

LINE_EVERY_S = 30.0  # without a terminal: who reads a log wants to know that it goes on


def say(line: str, shown: bool) -> None:
    """One line on stderr, beside the bar; nothing when not shown, or where there is nothing."""
    if shown and line:
        print(line, file=sys.stderr)


def no_bars_in_a_log() -> None:
    """Without a terminal, no bars of the libraries: each of their steps would be a line."""
    if not sys.stderr.isatty():
        from transformers.utils import logging

        logging.disable_progress_bar()  # and those of downloads with them


@contextmanager
def progress_bar(total: int, shown: bool) -> Generator[Callable[[int], None]]:
    """A bar on stderr that the yielded function advances; nothing at all when not shown.

    Where stderr is no terminal, a plain line every half minute.
    """
    if not shown:
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(total)
        return
    with Progress(
        "evaluating",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.advance(task, done)


def _lines(total: int) -> Callable[[int], None]:
    """What prints how far it is, when half a minute has gone since it last did."""
    begun = printed = time.monotonic()
    answered = 0

    def advance(done: int) -> None:
        nonlocal answered, printed
        answered += done
        now = time.monotonic()
        if answered < total and now - printed >= LINE_EVERY_S:
            printed = now
            say(f"evaluating: {answered:,} of {total:,} after {now - begun:,.0f} s", shown=True)

    return advance
