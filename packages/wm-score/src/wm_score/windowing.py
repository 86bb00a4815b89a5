"""Which stretch of a text carries a mark. Corrects for having looked at many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wm_score.errors import InputError
from wm_score.null import distinct
from wm_score.null_file import DEFAULT
from wm_score.proof import NullLike, choose, lowest_p
from wm_score.spans import tokens

SIZE = 64  # counted tokens
SMALLEST = 8


@dataclass(frozen=True)
class Window:
    """One stretch: `text[start:end]`, its counted tokens, and corrected p-values.

    The p-values hold for the best of all windows of the text: the smallest of them is as valid
    as any p.
    """

    __slots__ = ("blue_p", "end", "even", "odd", "red_p", "start")

    start: int
    end: int
    even: int
    odd: int
    red_p: float
    blue_p: float

    def __reduce__(self) -> tuple[type[Window], tuple[object, ...]]:
        return Window, (self.start, self.end, self.even, self.odd, self.red_p, self.blue_p)


def windows(text: str, size: int = SIZE, null: NullLike = DEFAULT) -> list[Window]:
    """Windows of `size` counted tokens, each half over the one before; empty if nothing counts.

    Each p is a tail that leans to the safe side, times the number of windows (Bonferroni), and
    never below what the null's pieces support. Raises InputError for a size below 8.

    >>> [(w.start, w.end, w.even, w.odd) for w in windows("The watermark, read twice.")]
    [(0, 25, 1, 3)]
    """
    if size < SMALLEST:
        raise InputError(f"window of {size} counted tokens; expected {SMALLEST} or more")
    counted = [token for token in tokens(text) if token.counted]
    if not counted:
        return []
    against = choose(null)
    lowest = lowest_p(null)
    starts = _starts(len(counted), size)
    found: list[Window] = []
    for start in starts:
        inside = counted[start : start + size]
        odd = sum(token.id & 1 for token in inside)
        once = distinct(token.id for token in inside)
        bounds = [one.bound(*once) for one in against]
        red, blue = (
            min(1.0, max(lowest, len(starts) * max(bound[colour] for bound in bounds)))
            for colour in (0, 1)
        )
        found.append(Window(inside[0].start, inside[-1].end, len(inside) - odd, odd, red, blue))
    return found


def _starts(n: int, size: int) -> Sequence[int]:
    """First counted token of each window; the last window ends with the text."""
    if n <= size:
        return [0]
    starts = list(range(0, n - size, size // 2))
    return [*starts, n - size]
