"""What unmarked text of one kind does under the rule, and where a text stands in it. Ranks; fits
nothing, reads no file and splits no text.

Of documents that nobody marked three things are kept, each counted id being taken once a piece, so
that a loop adds nothing:

- the even share of distinct ids, as a line over log2 of their number;
- their dispersion (variance over the binomial one), as another such line;
- how extreme each piece of those documents is for either colour, as a tail of the binomial
  distribution with that share, tempered to that dispersion.

A text's p is its rank among those pieces, itself included: (1 + as extreme) / (1 + pieces). It is
never zero and never below `Null.lowest`.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from wm_score.rate import highest_rate
from wm_score.tables import CODEBOOK

FORMAT = "wm-score null 1"
CENTRE = 64  # distinct ids; where the lines' constants stand


@dataclass(frozen=True)
class Null:
    """A fitted null. `red` and `blue` are its pieces' tails, in rising order."""

    name: str
    source: str
    documents: int
    share: tuple[float, float]  # even share at CENTRE distinct ids, and its change per doubling
    dispersion: tuple[float, float]  # variance over binomial variance, likewise
    reach: tuple[int, int]  # distinct ids of the shortest and longest pieces behind the lines
    red: tuple[float, ...]
    blue: tuple[float, ...]
    lowest_by_document: bool = True  # of the shipped ones False, as their figures were published

    @property
    def pieces(self) -> int:
        """Pieces of unmarked text behind every p."""
        return len(self.red)

    @property
    def lowest(self) -> float:
        """The lowest p: pieces of one document are alike, so its documents say how low."""
        return 1 / (1 + (self.documents if self.lowest_by_document else self.pieces))

    def p(self, even: int, odd: int) -> tuple[float, float]:
        """Ranks of a text with so many distinct even and odd ids: p for red, p for blue."""
        if not even + odd:
            return 1.0, 1.0
        red, blue = self._as_extreme(even, odd)
        return (
            max(self.lowest, (1 + red) / (1 + self.pieces)),
            max(self.lowest, (1 + blue) / (1 + self.pieces)),
        )

    def cautious_p(self, even: int, odd: int) -> tuple[float, float]:
        """The same, but as high as the rate behind the rank may be, at 95 % confidence.

        A rank is right on average over the pieces that a null could have been fitted on; with
        few of them as extreme, the rate of such text may be half as high or twice.
        """
        if not even + odd:
            return 1.0, 1.0
        red, blue = self._as_extreme(even, odd)
        return highest_rate(red, self.pieces), highest_rate(blue, self.pieces)

    def _as_extreme(self, even: int, odd: int) -> tuple[int, int]:
        """How many of the pieces are as extreme for red, and for blue."""
        red, blue = self.tails(even, odd)
        # Stored tails have five digits: a text just like a piece must count it as its equal.
        return bisect_right(self.red, red * 1.0001), bisect_right(self.blue, blue * 1.0001)

    def tails(self, even: int, odd: int) -> tuple[float, float]:
        """Mid-tails for red and for blue: what the pieces are ranked by, not yet a p."""
        share, dispersion = self.expected(even + odd)
        above, at = tail(even, even + odd, share, dispersion)
        return above + at / 2, 1 - above - at / 2

    def bound(self, even: int, odd: int) -> tuple[float, float]:
        """Tails for red and for blue that lean to the safe side, for use far out.

        The whole tail, not half of the last step, and a spread no smaller than the binomial.
        """
        share, dispersion = self.expected(even + odd)
        above, at = tail(even, even + odd, share, max(1.0, dispersion))
        below, _ = tail(odd, even + odd, 1 - share, max(1.0, dispersion))
        return above + at, below + at

    def expected(self, distinct: int) -> tuple[float, float]:
        """Even share and dispersion of unmarked texts with so many distinct ids.

        Beyond the longest pieces fitted the dispersion is at least 1, since nothing was measured:
        a text one id longer than they are may have a p several times as high.
        """
        within = min(max(distinct, self.reach[0]), self.reach[1])
        doublings = math.log2(within / CENTRE)
        share = min(0.99, max(0.01, self.share[0] + self.share[1] * doublings))
        dispersion = max(0.3, self.dispersion[0] + self.dispersion[1] * doublings)
        return share, max(1.0, dispersion) if distinct > self.reach[1] else dispersion

    def to_json(self) -> str:
        """The null as a file's text: figures only."""
        record = {
            "format": FORMAT,
            "codebook": CODEBOOK,
            "name": self.name,
            "source": self.source,
            "documents": self.documents,
            "share": self.share,
            "dispersion": self.dispersion,
            "reach": self.reach,
            "red": self.red,
            "blue": self.blue,
        }
        return json.dumps(record)


def distinct(ids: Iterable[int]) -> tuple[int, int]:
    """How many different even and odd ids there are.

    >>> distinct([2, 2, 4, 7, 7, 7])
    (2, 1)
    """
    once = set(ids)
    odd = sum(token_id & 1 for token_id in once)
    return len(once) - odd, odd


def tail(at_least: int, n: int, share: float, dispersion: float) -> tuple[float, float]:
    """Probability of more than `at_least` of `n`, and of exactly so many.

    The binomial probabilities to the power 1 / dispersion, made to sum to 1: summed, not
    approximated. With dispersion 1 it is the binomial itself.

    >>> above, at = tail(2, 3, 0.5, 1.0)
    >>> round(above, 6), round(at, 6)
    (0.125, 0.375)
    """
    shape = n, round(share, 6), round(dispersion, 6)
    first, above = _kept(*shape) if n <= 512 else _cumulated(*shape)
    i = at_least - first
    if i < 0:
        return 1.0, 0.0
    if i >= len(above) - 1:
        return 0.0, 0.0
    return above[i + 1], above[i] - above[i + 1]


@lru_cache(maxsize=1024)
def _kept(n: int, share: float, dispersion: float) -> tuple[int, list[float]]:
    return _cumulated(n, share, dispersion)


def _cumulated(n: int, share: float, dispersion: float) -> tuple[int, list[float]]:
    """First value, and probabilities of at least that value, of the next one, and so on."""
    # Outside 40 standard deviations every term is below the smallest float.
    spread = 40 * math.sqrt(n * share * (1 - share) * dispersion) + 40
    first = max(0, math.floor(n * share - spread))
    last = min(n, math.ceil(n * share + spread))
    logs = [
        (
            math.lgamma(n + 1)
            - math.lgamma(x + 1)
            - math.lgamma(n - x + 1)
            + x * math.log(share)
            + (n - x) * math.log(1 - share)
        )
        / dispersion
        for x in range(first, last + 1)
    ]
    highest = max(logs)
    terms = [math.exp(value - highest) for value in logs]
    above = [0.0]
    for term in reversed(terms):  # from the smallest up, so that small tails keep their digits
        above.append(above[-1] + term)
    above.reverse()
    total = above[0]
    return first, [value / total for value in above]
