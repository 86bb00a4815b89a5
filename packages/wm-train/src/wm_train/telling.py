"""How far a preparation is: a bar on a terminal, else a line now and then. Prepares nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LINE_EVERY_S = 30.0  # where there is no bar


@contextmanager
def telling(
    console: Console | None, what: str, total: int, unit: str
) -> Generator[Callable[[int], None]]:
    """Yield what is called with how many more are done; without a console nothing is said."""
    from rich.progress import Progress

    shown, done, told = console is not None and console.is_terminal, 0, time.monotonic()
    with Progress(console=console, disable=not shown, transient=True) as bar:
        task = bar.add_task(what, total=total)

        def advance(more: int) -> None:
            nonlocal done, told
            done += more
            bar.advance(task, more)
            if console is None or shown or done >= total:
                return
            if time.monotonic() - told >= LINE_EVERY_S:
                told = time.monotonic()
                console.print(f"{what}: {done:,} of {total:,} {unit}", soft_wrap=True)

        yield advance
