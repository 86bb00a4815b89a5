"""Counts of a text without its ids: faster than encoding it, and the same as `score_ids`.

Parity needs only which pieces occur. Two borders no token crosses, and nothing after them looks
back: before a space that something other than white space follows, and behind a line's end that
no other line's end follows in the same white space. So a text is cut there by `str.split`, each
unit's counts, packed into one integer, come from a dict, and their sum is the text's.

Spaces that are no such border become NUL first, so that the units keep them, and units without a
space before them begin with U+0001; a text that holds these characters itself is cut into pieces
instead. A unit that shows a rarer kind of white space at a border (U+00A0 before a space and the
like) is flagged, and then the text is cut into pieces too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from wm_score.bpe import bpe
from wm_score.rule import Score, score_ids
from wm_score.splitting import ADDED, WHITE_SPACE, pieces, segments
from wm_score.tables import counted, ranks

CHUNK = 1 << 16  # characters
LONGEST = 80_000  # characters; NFC and UTF-8 make at most 12 bytes of each: below 20 bits
UNITS_KEPT = 140_000  # two generations of it, about 120 bytes each
PIECES_KEPT = 43_000
KEPT_CHARS = 64  # a longer one hardly ever comes again

ODD = 1 << 20
IGNORED = 1 << 40
INEXACT = 1 << 60  # the unit does not begin at a border
FIELD = ODD - 1

CUT = re.compile(f"[^{WHITE_SPACE}](?= )|[\r\n](?=[^{WHITE_SPACE}])")
BLANK_LINE = re.compile(f"[{WHITE_SPACE}]*[\r\n]")
PUNCTUATION = "!\"#$%&'()*+,-./:;=>?@[]^_`{|}~"  # no "<": it may begin an added token
WHITE = frozenset(filter(re.compile(f"[{WHITE_SPACE}]").match, map(chr, range(0x3001))))


def count(text: str) -> Score:
    """The score of a text of any length.

    >>> count("The watermark, read twice.")
    Score(even=1, odd=3, ignored=2)
    """
    if len(text) <= CHUNK:
        return _unpack(_packed(text))
    even = odd = ignored = 0
    for chunk in chunks(text):
        part = _unpack(_packed(chunk)) if len(chunk) <= LONGEST else _endless(chunk)
        even, odd, ignored = even + part.even, odd + part.odd, ignored + part.ignored
    return Score(even, odd, ignored)


def chunks(text: str) -> Iterator[str]:
    """Parts of a text whose tokens are, put together, those of the text."""
    start = 0
    while start < len(text):
        cut = CUT.search(text, start + CHUNK - 1)
        end = cut.end() if cut else len(text)
        yield text[start:end]
        start = end


def _packed(text: str) -> int:
    """Counts of a text of at most LONGEST characters."""
    if "\0" in text or "\1" in text or "\2" in text:
        return _by_pieces(text)
    total = sum(map(UNITS.__getitem__, _units(text)))
    return total if total < INEXACT else _by_pieces(text)


def _units(text: str) -> list[str]:
    """The text cut at its borders; without the space before each unit, or with U+0001 for none."""
    if "  " in text:  # of a run of spaces the last is the border
        text = text.replace("  ", "\0 ").replace(" \0", "\0\0").replace("  ", "\0 ")
    if " \n" in text:
        text = text.replace(" \n", "\0\n")
    if text[-1:] == " ":
        text = text[:-1] + "\0"
    if "\n" in text:
        text = text.replace("\n", "\n \1").replace(" \1\n", "\n")
        if "\r" in text:
            text = text.replace(" \1\r", "\r")
    units = text.split(" ")
    units[0] = "\2" + units[0]  # U+0002: nothing stands before it at all
    return units


def _by_pieces(text: str) -> int:
    if "<" not in text:  # no added token
        return sum(map(PIECES.__getitem__, pieces(text)))
    total = 0
    for place, segment in enumerate(segments(text)):
        total += IGNORED if place % 2 else sum(map(PIECES.__getitem__, pieces(segment)))
    return total


def _endless(text: str) -> Score:
    """Counts of a text without a border for 80,000 characters, in numbers of any size."""
    even = odd = ignored = 0
    for place, segment in enumerate(segments(text)):
        if place % 2:
            ignored += 1
            continue
        for piece in pieces(segment):
            if len(piece) <= KEPT_CHARS:
                part = _unpack(PIECES[piece])
            else:
                part = score_ids(bpe(piece.encode(), ranks()))
            even, odd, ignored = even + part.even, odd + part.odd, ignored + part.ignored
    return Score(even, odd, ignored)


def _unpack(packed: int) -> Score:
    return Score(packed & FIELD, packed >> 20 & FIELD, packed >> 40)


def _count_unit(unit: str) -> int:
    if unit.isascii():  # the commonest kinds by hand: a word, a word with punctuation behind it
        if unit.isalpha():
            return _count_piece(b" " + unit.encode())
        word = unit.rstrip(PUNCTUATION)
        if word.isalpha():
            return UNITS[word] + PIECES[unit[len(word) :]]
    first = unit[:1]
    text = unit.replace("\0", " ")
    if first == "\2":
        return _by_pieces(text[1:])
    if first == "\1":
        text = text[1:]
        return _by_pieces(text) + (INEXACT if BLANK_LINE.match(text) else 0)
    # An added token ends the text before it, and with it white space that goes on over the border.
    exact = text and text[0] not in WHITE and not ADDED.match(text)
    return _by_pieces(" " + text) + (0 if exact else INEXACT)


def _count_piece(piece: bytes) -> int:
    table = counted()
    packed = 0
    for token_id in bpe(piece, ranks()):
        packed += (ODD if token_id & 1 else 1) if table[token_id] else IGNORED
    return packed


class _Units(dict[str, int]):
    """Counts by unit in two generations: when the younger is full, it replaces the older.

    Other threads may find either empty in between: then a unit is counted again, to the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.older: dict[str, int] = {}
        self.shared: dict[int, int] = {}  # one object a value: less memory, fewer cache misses

    def __missing__(self, unit: str) -> int:
        packed = self.older.get(unit)
        if packed is None:
            packed = _count_unit(unit)
        if len(unit) <= KEPT_CHARS:
            if len(self) >= UNITS_KEPT:
                self.older = self.copy()
                self.clear()
                self.shared = {}
            packed = self[unit] = self.shared.setdefault(packed, packed)
        return packed


class _Pieces(dict[str, int]):
    """Counts by piece of the split pattern, forgetting all at once when it is full."""

    def __missing__(self, piece: str) -> int:
        packed = _count_piece(piece.encode())
        if len(piece) <= KEPT_CHARS:
            if len(self) >= PIECES_KEPT:
                self.clear()
            self[piece] = packed
        return packed


UNITS = _Units()
PIECES = _Pieces()
