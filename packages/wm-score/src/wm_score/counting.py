"""Counts of a text without its ids: faster than encoding it, and the same as `score_ids`.

Parity needs only which pieces occur. A border between tokens always lies before a space that
follows something other than white space: no alternative of the split pattern runs across it, and
nothing after it looks back. So a text is cut there by `str.split`, each unit's counts, packed into
one integer, come from a dict, and their sum is the text's.

A space that follows white space is no such border. It becomes NUL first, so that the unit keeps
it; a text that holds NUL itself is cut into pieces instead. Units that end in white space are
flagged, so that the rarer kinds of it (U+00A0 and the like) before a space are noticed too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from wm_score.bpe import bpe
from wm_score.rule import Score, score_ids
from wm_score.splitting import WHITE_SPACE, pieces, segments
from wm_score.tables import counted, ranks

CHUNK = 1 << 16  # characters
LONGEST = 80_000  # characters; NFC and UTF-8 make at most 12 bytes of each: below 20 bits
UNITS_KEPT = 87_000  # just below a size at which a dict grows; two generations of it
PIECES_KEPT = 43_000
KEPT_CHARS = 64  # a longer one hardly ever comes again

ODD = 1 << 20
IGNORED = 1 << 40
SPACED = 1 << 60  # the unit ends in white space: right only at the end of a text
FIELD = ODD - 1

CUT = re.compile(f"[^{WHITE_SPACE}](?= )|[\r\n](?=[^{WHITE_SPACE}])")
PUNCTUATION = "!\"#$%&'()*+,-./:;=>?@[]^_`{|}~"  # no "<": it may begin an added token
WHITE = frozenset(filter(re.compile(f"[{WHITE_SPACE}]").match, map(chr, range(0x3001))))
SPACE_AFTER_WHITE = re.compile(f"(?<=[{WHITE_SPACE}]) ")


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
    if "\0" in text or "\1" in text:
        return _by_pieces(text)
    marked = text
    if "  " in text or "\n " in text or "\t " in text:
        marked = text.replace("\n ", "\n\0").replace("\t ", "\t\0")
        marked = marked.replace("  ", " \0").replace("\0 ", "\0\0")
    total = _by_units(marked)
    if total >= SPACED:  # a rarer kind of white space stands before a space
        total = _by_units(SPACE_AFTER_WHITE.sub("\0", text))
    return total


def _by_units(marked: str) -> int:
    units = marked.split(" ")
    units[0] = "\1" + units[0]  # no space before it
    last = UNITS[units.pop()] % SPACED
    return sum(map(UNITS.__getitem__, units), last)


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
    text = unit[1:] if unit[:1] == "\1" else " " + unit
    text = text.replace("\0", " ")
    return _by_pieces(text) + (SPACED if text[-1:] in WHITE else 0)


def _count_piece(piece: bytes) -> int:
    table = counted()
    packed = 0
    for token_id in bpe(piece, ranks()):
        packed += (ODD if token_id & 1 else 1) if table[token_id] else IGNORED
    return packed


class _Units(dict[str, int]):
    """Counts by unit in two generations: when the younger is full, it replaces the older."""

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
