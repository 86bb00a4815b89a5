"""Makes a null of documents that nobody marked. Splits no text and reads no file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256

from wm_score.errors import InputError
from wm_score.null import CENTRE, Null, distinct
from wm_score.null_file import FEWEST, check

FIT_LENGTHS = (16, 32, 64, 128, 256, 512)  # counted tokens
PIECE_LENGTHS = (16, 24, 32, 48, 64, 96, 128)  # counted tokens, in turn
SHORTEST = 12  # counted tokens
FEWEST_A_LENGTH = 30  # pieces
# Documents; a habit of one in ten of them stays unseen in 4 % of cases.
FEWEST_DOCUMENTS = 30
# How far the truth may lie from a line, so that the many short pieces do not outvote the long.
SHARE_MISFIT, DISPERSION_MISFIT = 0.003, 0.05


def independent(documents: Iterable[Sequence[int]]) -> tuple[list[Sequence[int]], int, int]:
    """The documents to fit on, how many were too short, and how many were copies of another.

    >>> independent([range(20), range(9), range(20)])
    ([range(0, 20)], 1, 1)
    """
    kept: list[Sequence[int]] = []
    seen: set[bytes] = set()
    short = copies = 0
    for ids in documents:
        digest = sha256(repr(list(ids)).encode()).digest()
        if len(ids) < SHORTEST:
            short += 1
        elif digest in seen:
            copies += 1
        else:
            seen.add(digest)
            kept.append(ids)
    return kept, short, copies


def fit(documents: Iterable[Sequence[int]], name: str, source: str) -> Null:
    """Null of documents that are independent of one another, each as its counted ids in order.

    Raises InputError if they are too few, too short, or of one parity alone.
    """
    kept = [ids for ids in documents if len(ids) >= SHORTEST]
    pieces = list(cut(kept))
    if len(kept) < FEWEST_DOCUMENTS or len(pieces) < FEWEST:
        raise InputError(
            f"{len(kept)} documents of at least {SHORTEST} counted tokens make {len(pieces)} "
            f"pieces; a null needs {FEWEST_DOCUMENTS} documents and {FEWEST} pieces; add documents "
            "that nobody marked"
        )
    shares: list[tuple[float, float, float]] = []  # doublings, value, variance of the value
    dispersions: list[tuple[float, float, float]] = []
    reach: list[int] = []  # mean distinct ids
    for length in FIT_LENGTHS:
        counts = [distinct(piece) for ids in kept for piece in _equal_pieces(ids, length)]
        n = len(counts)
        if n < FEWEST_A_LENGTH:
            continue
        total = sum(even + odd for even, odd in counts)
        share = sum(even for even, _ in counts) / total
        if not 0 < share < 1:
            parity = "even" if share else "odd"
            raise InputError(
                f"all ids of {n} pieces of {length} counted tokens are {parity}; a null needs "
                "documents of ordinary text, with ids of both parities"
            )
        unit = share * (1 - share)
        squares = ((e - share * (e + o)) ** 2 / ((e + o) * unit) for e, o in counts)
        dispersion = sum(squares) / n
        doublings = math.log2(total / n / CENTRE)
        shares.append((doublings, share, unit / total))
        dispersions.append((doublings, dispersion, 2 * dispersion**2 / n))
        reach.append(round(total / n))
    if not shares:
        raise InputError(
            f"the {len(kept)} documents are too short: fewer than {FEWEST_A_LENGTH} stretches of "
            f"{FIT_LENGTHS[0]} counted tokens are in them; add longer ones"
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
    try:
        check(shape)
    except ValueError as problem:
        raise InputError(f"the documents make no null: {problem}; add other documents") from None
    tails = [shape.tails(*distinct(piece)) for piece in pieces]
    return replace(
        shape,
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
