"""Text out of files, in bounded memory. Scores nothing."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from wm_score.counting import CHUNK, CUT
from wm_score.errors import InputError

BLOCK = 1 << 18  # bytes
MARK = "\ufeff"  # byte order mark, as some editors put it before a text
# `parse_int=len`: no figure of a row is used, and int() refuses more than 4300 digits.
_json = json.JSONDecoder(parse_int=len)


@contextmanager
def opened(name: str) -> Generator[BinaryIO, None, None]:
    """The file, or standard input for `-`. Raises InputError."""
    if name == "-":
        stdin = cast("TextIO | None", sys.stdin)  # None where it was closed beforehand
        if stdin is None:
            raise InputError("standard input is closed; name a file, or give it text")
        yield stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - closed below, once this has not failed
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        raise unreadable(name, problem) from None
    with file:
        yield file


def blocks(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The file's bytes, block by block. Raises InputError."""
    while True:
        try:
            block = file.read(BLOCK)
        except OSError as problem:
            raise unreadable(name, problem) from None
        if not block:
            return
        yield block


def decoded(raw: Iterable[bytes], name: str, errors: str) -> Iterator[str]:
    """Text of UTF-8 bytes, without a byte order mark before it.

    Raises InputError with the offset of the first byte that is none.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    done = 0  # bytes given to the decoder
    begun = False
    for block in chain(raw, [b""]):  # no block of a file is empty: this one is the end
        waiting = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as problem:
            raise not_utf8(name, done - waiting + problem.start) from None
        done += len(block)
        yield text if begun else text.removeprefix(MARK)
        begun = begun or bool(text)


def parts(texts: Iterable[str]) -> Iterator[str]:
    """The texts run together, cut where no token crosses: about CHUNK characters each."""
    kept: list[str] = []
    size, enough = 0, 2 * CHUNK
    for text in texts:
        kept.append(text)
        size += len(text)
        if size < enough:
            continue
        whole = "".join(kept)
        start = 0
        while len(whole) - start >= 2 * CHUNK:
            cut = CUT.search(whole, start + CHUNK - 1)
            if not cut:
                break
            yield whole[start : cut.end()]
            start = cut.end()
        kept = [whole[start:]]
        size = len(kept[0])
        # A stretch without a border is searched again only after it has doubled.
        enough = 2 * max(size, CHUNK)
    yield "".join(kept)


def rows(file: BinaryIO, name: str, field: str, errors: str) -> Iterator[tuple[str, str]]:
    """Each line of a JSON-lines file and the text in its field. Raises InputError."""
    offset = 0
    for number, raw in enumerate(_lines(file, name), 1):
        try:
            line = raw.decode("utf-8", errors)
        except UnicodeDecodeError as problem:
            raise not_utf8(f"{name}, line {number}", offset + problem.start) from None
        offset += len(raw)
        if number == 1:
            line = line.removeprefix(MARK)
        if not line.strip():
            continue
        yield line, text_of(line, f"{name}, line {number}", field)


def _lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    try:
        yield from file
    except OSError as problem:
        raise unreadable(name, problem) from None


def text_of(line: str, where: str, field: str) -> str:
    """The text in one JSON object's field. Raises InputError."""
    try:
        row: Any = _json.decode(line)
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{where}: not JSON ({problem}); expected one object a line") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: a JSON {type(row).__name__}; expected an object")
    fields = cast("dict[str, Any]", row)
    if field not in fields:
        known = ", ".join(sorted(fields)[:8]) or "none"
        raise InputError(f"{where}: no field {field!r}; fields are: {known}")
    if not isinstance(fields[field], str):
        kind = type(fields[field]).__name__
        raise InputError(f"{where}: field {field!r} is of type {kind}; expected a string")
    return fields[field]


def row_size(row: tuple[str, str]) -> int:
    return len(row[0])


def unreadable(name: str, problem: Exception) -> InputError:
    why = getattr(problem, "strerror", None) or problem
    return InputError(f"{name}: {why}; expected a readable file")


def not_utf8(name: str, offset: int) -> InputError:
    return InputError(
        f"{name}: byte {offset} is not UTF-8; convert the file or pass --errors replace"
    )
