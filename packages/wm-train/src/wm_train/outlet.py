"""Standard output and error that let no secret through. Decides nothing about what one is."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Generator, Iterable
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

from wm_train.redact import redact


class Redacted:
    """A text stream whose every write is redacted; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _without_a_terminal():
            self._stream.write(redact(text))
        return len(text)

    def flush(self) -> None:
        with _without_a_terminal():
            self._stream.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _without_a_terminal() -> Generator[None]:
    """What is told to a terminal that has been closed is lost, and ends nothing."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


@contextmanager
def redacted() -> Generator[None]:
    """Redact what is printed here: by us, by libraries' logs and warnings, by tracebacks.

    An exception that nobody expected is printed here and ends the process with 1: left to the
    interpreter, its text would pass by.
    """
    out, err = (cast(TextIO, Redacted(stream)) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            yield
        except Exception:
            traceback.print_exc()
            sys.exit(1)
