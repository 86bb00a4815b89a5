"""Standard output and standard error of the command. Knows nothing of what it prints."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar, cast

from wm_score.errors import InputError
from wm_score.visible import visible

SHOW_PROGRESS_AFTER_S = 2.0
T = TypeVar("T")


def write(text: str) -> None:
    """To standard output as UTF-8, whatever the locale; what UTF-8 cannot hold as `?`."""
    out = _stream("stdout")
    if out is None:
        raise InputError("standard output is closed; expected a terminal, a file or a pipe")
    out.buffer.write(text.encode("utf-8", "replace"))


def flush() -> None:
    out = _stream("stdout")
    if out is not None:
        out.flush()


def is_watched() -> bool:
    """Whether somebody sees each line as it comes."""
    out = _stream("stdout")
    return out is not None and out.isatty()


def tell(text: str) -> None:
    """One line to standard error; lost where that is closed or full."""
    err = _stream("stderr")
    if err is None:
        return  # print() would take standard output
    try:
        print(visible(text), file=err, flush=True)
    except OSError:
        abandon("stderr")


def abandon(name: str = "stdout") -> None:
    """From here on the stream goes nowhere: Python's own last flush would fail once more."""
    stream = _stream(name)
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def progress(items: Iterable[T], size: Callable[[T], int], quiet: bool) -> Iterator[T]:
    """The items, with a line on a terminal's standard error once it takes long."""
    err = _stream("stderr")
    if quiet or err is None or not err.isatty():
        yield from items
        return
    start = told = time.monotonic()
    done, shown = 0, False
    try:
        for item in items:
            yield item
            done += size(item)
            now = time.monotonic()
            if now - start > SHOW_PROGRESS_AFTER_S and now - told > 0.5:
                told, shown = now, True
                rate = done / 1e6 / (now - start)
                print(f"\r{done / 1e6:.1f} MB, {rate:.1f} MB/s", end="", file=err, flush=True)
    finally:
        if shown:
            print(file=err)


def _stream(name: str) -> TextIO | None:
    """None where it was closed before Python began, which `sys`' own types leave out."""
    return cast("TextIO | None", getattr(sys, name))
