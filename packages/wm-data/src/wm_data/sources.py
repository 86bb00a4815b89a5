"""Reads the seed rows of a recipe's sources. Judges none of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wm_data import grammar
from wm_data.recipe import Source
from wm_data.rows import Row
from wm_manifest import FileRef


@dataclass(frozen=True)
class Opened:
    """A source that was found: its rows are read while `rows` is iterated."""

    source: Source
    rows: Iterator[Row]
    revision: str | None
    files: list[FileRef]


def open_source(source: Source, seed: int) -> Opened:
    """Find a source; raise `WmDataError` where it cannot be read."""
    assert source.grammar is not None
    return Opened(source, grammar.draw(source.grammar, seed, source.id), None, [])
