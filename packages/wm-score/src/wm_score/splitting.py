"""What happens to text before BPE: added tokens, NFC, the split pattern. Makes no ids.

The pattern's letters, numbers and white space are shipped tables, and so is the set of code
points that take part in NFC: the running Python's Unicode version changes nothing.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from functools import cache

from wm_score.tables import ADDED_TOKENS, classes

# The official pattern, over the shape of the text: letters are a-z or A-Z, numbers 0-9, white
# space the six ASCII characters, everything else something else.
PATTERN = re.compile(
    r"'(?:[sStTmMdD]|[rRvV][eE]|[lL][lL])"
    r"|[^\r\nA-Za-z0-9]?[A-Za-z]+"
    r"|[0-9]"
    r"| ?[^\t\n\v\f\r A-Za-z0-9]+[\r\n]*"
    r"|[\t\n\v\f\r ]*[\r\n]+"
    r"|[\t\n\v\f\r ]+(?![^\t\n\v\f\r ])"
    r"|[\t\n\v\f\r ]+"
)
ADDED = re.compile("(" + "|".join(map(re.escape, ADDED_TOKENS)) + ")")
# The 25 characters of the white-space class, as members of a regex class.
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
FIRST_UNKNOWN_TO_NFC = "\u07fd"  # below it every Python agrees with the official tokenizer
SHAPES_KEPT = 8192  # code points


def segments(text: str) -> list[str]:
    """Text between added tokens at even places (it may be empty), added tokens at odd ones.

    >>> segments("<think>so</think>")
    ['', '<think>', 'so', '</think>', '']
    """
    return ADDED.split(text) if "<" in text else [text]


def pieces(text: str) -> list[str]:
    """The pieces that BPE sees, of text without added tokens, after NFC.

    >>> pieces("I'll wait, 42 days")
    ['I', "'ll", ' wait', ',', ' ', '4', '2', ' days']
    """
    if text.isascii():
        return PATTERN.findall(text)
    text = nfc(clean(text))
    start = 0
    found: list[str] = []
    for shape in PATTERN.findall(text.translate(_shapes())):
        end = start + len(shape)
        found.append(text[start:end])
        start = end
    return found


def clean(text: str) -> str:
    """Lone surrogates become U+FFFD, and a pair of them its character: neither is UTF-8.

    >>> clean("a\\ud800b\\ud83d\\ude00")
    'a\ufffdb😀'
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def nfc(text: str) -> str:
    """NFC as the official tokenizer has it: younger combining characters stay where they are."""
    if unicodedata.is_normalized("NFC", text):
        return text
    if max(text) < FIRST_UNKNOWN_TO_NFC:
        return unicodedata.normalize("NFC", text)
    return _nfc_active().sub(lambda run: unicodedata.normalize("NFC", run[0]), text)


@cache
def _nfc_active() -> re.Pattern[str]:
    ranges = (f"{chr(first)}-{chr(last)}" for first, last in classes()["nfc_active"] if first > 127)
    return re.compile("[A-Za-z<=>" + "".join(ranges) + "]+")


class _Shapes(dict[int, str]):
    """The ASCII character that stands for a code point in the split pattern.

    Emptied when it is full, while other threads may be reading it: so each entry, ASCII too, can be
    found again by itself.
    """

    def __init__(self) -> None:
        super().__init__()
        known = classes()
        borders = {128: "!"}
        shaped = ((known["letter"], "a"), (known["number"], "0"), (known["space"], "\t"))
        for ranges, _ in shaped:
            borders.update((last + 1, "!") for _, last in ranges)
        for ranges, shape in shaped:
            borders.update((first, shape) for first, _ in ranges)
        borders.update((c, chr(c)) for c in range(128))
        borders.update({0x17F: "s", 0x180: "a"})  # the long s, which a case-blind 's also matches
        self.starts = sorted(borders)
        self.shapes = [borders[start] for start in self.starts]

    def __missing__(self, code_point: int) -> str:
        if len(self) >= SHAPES_KEPT:
            self.clear()
        shape = self[code_point] = self.shapes[bisect_right(self.starts, code_point) - 1]
        return shape


@cache
def _shapes() -> _Shapes:
    return _Shapes()
