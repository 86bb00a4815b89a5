"""Where each token stands in the text. Colours nothing and judges nothing."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from wm_score.bpe import bpe
from wm_score.rule import is_counted
from wm_score.splitting import clean, nfc, pieces, segments
from wm_score.tables import ranks
from wm_score.tokenizer import ADDED_IDS, token_bytes


@dataclass(frozen=True)
class Token:
    """One token of a text. `text[start:end]` are the characters that its bytes come from.

    Two tokens that share one character (an emoji of two tokens, say) both span it.
    """

    __slots__ = ("counted", "end", "id", "start")

    id: int
    start: int
    end: int
    counted: bool

    def __reduce__(self) -> tuple[type[Token], tuple[int, int, int, bool]]:
        return Token, (self.id, self.start, self.end, self.counted)

    @property
    def bytes(self) -> bytes:
        """The token's bytes: of the text after NFC."""
        return token_bytes(self.id)

    @property
    def colour(self) -> str:
        """`red` for a counted even id, `blue` for a counted odd one, else `none`."""
        if not self.counted:
            return "none"
        return "blue" if self.id % 2 else "red"


def tokens(text: str) -> list[Token]:
    """Tokens of a text in order, with their places and colours.

    Offsets count characters of `text`; a pair of surrogates counts as its one character.

    >>> [(t.id, t.start, t.end, t.colour) for t in tokens("Hi, you")]
    [(13048, 0, 2, 'red'), (11, 2, 3, 'none'), (498, 3, 7, 'red')]
    """
    return list(_tokens(clean(text)))


def _tokens(text: str) -> Iterator[Token]:
    offset = 0
    for place, segment in enumerate(segments(text)):
        if place % 2:
            yield Token(ADDED_IDS[segment], offset, offset + len(segment), False)
        elif segment:
            yield from _segment(segment, offset)
        offset += len(segment)


def _segment(segment: str, offset: int) -> Iterator[Token]:
    normal = nfc(segment)
    starts, ends = _places(segment, normal)
    done = 0  # characters of the normal form
    for piece in pieces(segment):
        raw = piece.encode()
        borders = _borders(piece)
        position = 0
        for token_id in bpe(raw, ranks()):
            size = len(token_bytes(token_id))
            first = bisect_right(borders, position) - 1
            last = bisect_right(borders, position + size - 1) - 1
            start, end = offset + starts[done + first], offset + ends[done + last]
            yield Token(token_id, start, end, is_counted(token_id))
            position += size
        done += len(piece)


def _borders(piece: str) -> range | list[int]:
    """Byte at which each character begins."""
    if piece.isascii():
        return range(len(piece))
    borders = [0]
    for char in piece:
        borders.append(borders[-1] + len(char.encode()))
    return borders[:-1]


def _places(text: str, normal: str) -> tuple[range | list[int], range | list[int]]:
    """Where each character of the normal form starts and ends in the text."""
    if text == normal:
        return range(len(text)), range(1, len(text) + 1)
    starts: list[int] = []
    ends: list[int] = []
    offset = 0
    for block in _blocks(text):
        made = nfc(block)
        if made == block:
            starts += range(offset, offset + len(block))
            ends += range(offset + 1, offset + 1 + len(block))
        else:
            starts += [offset] * len(made)
            ends += [offset + len(block)] * len(made)
        offset += len(block)
    assert len(starts) == len(normal), ascii(text)
    return starts, ends


def _blocks(text: str) -> Iterator[str]:
    """The text cut into parts whose normal forms, joined, are the whole's."""
    block = text[:1]
    for char in text[1:]:
        if _starts(char) and nfc(block + char) == nfc(block) + nfc(char):
            yield block
            block = char
        else:
            block += char
    yield block


def _starts(char: str) -> bool:
    """Whether no mark before the character can trade places with what it is made of."""
    return not unicodedata.combining(unicodedata.normalize("NFD", char)[0])
