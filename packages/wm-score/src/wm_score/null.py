"""What unmarked text of one kind does under the rule, and where a text stands in it. Fits and
ranks; splits no text.

A null is fitted on documents that nobody marked. Each counted id is taken once a text, so a loop
adds nothing. Three things are kept:

- the even share of distinct ids, as a line over log2 of their number;
- their dispersion (variance over the binomial one), as another such line;
- how extreme each piece of those documents is for either colour, as a tail of the binomial
  distribution with that share, tempered to that dispersion.

A text's p is its rank among those pieces, itself included: (1 + as extreme) / (1 + pieces). It is
never zero and never below what the pieces support.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, cast

from wm_score.errors import InputError
from wm_score.rate import highest_rate
from wm_score.tables import CODEBOOK, read

FORMAT = "wm-score null 1"
FIT_LENGTHS = (16, 32, 64, 128, 256, 512)  # counted tokens
PIECE_LENGTHS = (16, 24, 32, 48, 64, 96, 128)  # counted tokens, in turn
SHORTEST = 12  # counted tokens
FEWEST = 99  # pieces; with fewer no p could reach 0.01
# How far the truth may lie from a line, so that the many short pieces do not outvote the long.
SHARE_MISFIT, DISPERSION_MISFIT = 0.003, 0.05
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

    @property
    def pieces(self) -> int:
        """Pieces of unmarked text behind every p."""
        return len(self.red)

    def p(self, even: int, odd: int) -> tuple[float, float]:
        """Ranks of a text with so many distinct even and odd ids: p for red, p for blue."""
        if not even + odd:
            return 1.0, 1.0
        red, blue = self._as_extreme(even, odd)
        return (1 + red) / (1 + self.pieces), (1 + blue) / (1 + self.pieces)

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

        Beyond the longest pieces fitted the dispersion is at least 1, since nothing was measured.
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


def fit(documents: Iterable[Sequence[int]], name: str, source: str) -> Null:
    """Null of documents, each given as its counted ids in order. Raises InputError if too few."""
    kept = [ids for ids in documents if len(ids) >= SHORTEST]
    shares: list[tuple[float, float, float]] = []  # doublings, value, variance of the value
    dispersions: list[tuple[float, float, float]] = []
    reach: list[int] = []  # mean distinct ids
    for length in FIT_LENGTHS:
        counts = [distinct(piece) for ids in kept for piece in _equal_pieces(ids, length)]
        n = len(counts)
        if n < 30:
            continue
        total = sum(even + odd for even, odd in counts)
        share = sum(even for even, _ in counts) / total
        unit = share * (1 - share)
        squares = ((e - share * (e + o)) ** 2 / ((e + o) * unit) for e, o in counts)
        dispersion = sum(squares) / n
        doublings = math.log2(total / n / CENTRE)
        shares.append((doublings, share, unit / total))
        dispersions.append((doublings, dispersion, 2 * dispersion**2 / n))
        reach.append(round(total / n))
    pieces = list(cut(kept))
    if len(pieces) < FEWEST or not shares:
        raise InputError(
            f"{len(kept)} documents of at least {SHORTEST} counted tokens make {len(pieces)} "
            f"pieces; a null needs {FEWEST}; add documents that nobody marked"
        )
    shape = Null(
        name=name,
        source=source,
        documents=len(kept),
        share=_line(shares, SHARE_MISFIT),
        dispersion=_line(dispersions, DISPERSION_MISFIT),
        reach=(reach[0], reach[-1]),
        red=(),
        blue=(),
    )
    tails = [shape.tails(*distinct(piece)) for piece in pieces]
    return Null(
        name=name,
        source=source,
        documents=len(kept),
        share=shape.share,
        dispersion=shape.dispersion,
        reach=shape.reach,
        red=tuple(sorted(_rounded(red) for red, _ in tails)),
        blue=tuple(sorted(_rounded(blue) for _, blue in tails)),
    )


def cut(documents: Iterable[Sequence[int]]) -> Iterable[Sequence[int]]:
    """Pieces of documents, end to end and of lengths in turn; no token is in two."""
    turn = 0
    for ids in documents:
        start = 0
        while len(ids) - start >= SHORTEST:
            yield ids[start : start + PIECE_LENGTHS[turn % len(PIECE_LENGTHS)]]
            start += PIECE_LENGTHS[turn % len(PIECE_LENGTHS)]
            turn += 1


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


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _equal_pieces(ids: Sequence[int], length: int) -> Iterable[Sequence[int]]:
    return (ids[i : i + length] for i in range(0, len(ids) - length + 1, length))


def _line(points: Sequence[tuple[float, float, float]], misfit: float) -> tuple[float, float]:
    """Value at 0 and slope of the least-squares line through points (x, value, variance)."""
    weights = [1 / (variance + misfit**2) for _, _, variance in points]
    weight = sum(weights)
    x_mean = sum(w * x for w, (x, _, _) in zip(weights, points)) / weight
    y_mean = sum(w * y for w, (_, y, _) in zip(weights, points)) / weight
    spread = sum(w * (x - x_mean) ** 2 for w, (x, _, _) in zip(weights, points))
    moved = sum(w * (x - x_mean) * (y - y_mean) for w, (x, y, _) in zip(weights, points))
    slope = moved / spread if spread else 0.0
    return round(y_mean - slope * x_mean, 6), round(slope, 6)


@cache
def shipped() -> dict[str, Null]:
    """The nulls that come with the package, by name."""
    records: list[dict[str, Any]] = json.loads(read("nulls.json"))
    return {record["name"]: from_record(record) for record in records}


def load(path: str) -> Null:
    """A null from a file that `wm-score calibrate` wrote. Raises InputError."""
    try:
        record: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise InputError(f"null {path}: {problem.strerror or problem}") from None
    except ValueError as problem:
        raise InputError(
            f"null {path}: not JSON ({problem}); make it with `wm-score calibrate`"
        ) from None
    if not isinstance(record, dict) or cast(Any, record).get("format") != FORMAT:
        raise InputError(f'null {path}: no "format": "{FORMAT}"; make it with `wm-score calibrate`')
    try:
        return from_record(cast("dict[str, Any]", record))
    except (KeyError, TypeError, ValueError, OverflowError) as problem:
        raise InputError(f"null {path}: {problem!r}; make it with `wm-score calibrate`") from None


def from_record(record: dict[str, Any]) -> Null:
    """A null from its JSON object. Raises KeyError, TypeError or ValueError if it is none."""
    if record["codebook"] != CODEBOOK:
        raise ValueError(f"codebook {record['codebook']!r}, expected {CODEBOOK!r}")
    share, dispersion, reach = record["share"], record["dispersion"], record["reach"]
    red, blue = sorted(map(float, record["red"])), sorted(map(float, record["blue"]))
    if len(red) < FEWEST or len(red) != len(blue):
        raise ValueError(f"{len(red)} red and {len(blue)} blue tails, expected {FEWEST} or more")
    null = Null(
        name=str(record["name"]),
        source=str(record["source"]),
        documents=int(record["documents"]),
        share=(float(share[0]), float(share[1])),
        dispersion=(float(dispersion[0]), float(dispersion[1])),
        reach=(int(reach[0]), int(reach[1])),
        red=tuple(red),
        blue=tuple(blue),
    )
    _check(null)
    return null


def _check(null: Null) -> None:
    """Raises ValueError for figures that no text can give, NaN among them."""
    for field, possible in {
        "share": 0 < null.share[0] < 1 and math.isfinite(null.share[1]),
        "dispersion": null.dispersion[0] > 0 and all(map(math.isfinite, null.dispersion)),
        "reach": 1 <= null.reach[0] <= null.reach[1],
        "red": all(0 <= tail <= 1 for tail in null.red),
        "blue": all(0 <= tail <= 1 for tail in null.blue),
    }.items():
        if not possible:
            raise ValueError(f"{field} {repr(getattr(null, field))[:40]} is impossible")
