"""How far the default null's rates depend on which documents were held out. Writes nothing.

    python scripts/check_default.py CORPORA

Splits every genre's documents in half anew, by a salted hash, once a salt; fits all nulls on one
half and counts p <= 0.01 on the other, for the two defaults that were considered: the largest p
over the nulls, and the largest upper bound of a rate (the one that is shipped). Salts 0 to 19.
"""

from __future__ import annotations

import hashlib
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fit_nulls import BANDS, SOURCES, pieces, read

from wm_score.fitting import fit
from wm_score.null import Null, distinct

SALTS = range(20)
FEWEST = 100  # pieces; a rate of fewer shows little
LEVEL = 0.01
PValues = Callable[[Null, int, int], tuple[float, float]]  # red, blue
Rates = dict[tuple[str, str, str], float]  # by genre, band and colour


def main() -> int:
    documents = {genre: read(Path(sys.argv[1]) / f"{genre}.jsonl") for genre in sorted(SOURCES)}
    for name, p_of in (("largest p", Null.p), ("largest bound", Null.cautious_p)):
        found = [rates(documents, salt, p_of) for salt in SALTS]
        bands = [rate for one in found for key, rate in one.items() if key[1] != "all"]
        genres = [rate for one in found for key, rate in one.items() if key[1] == "all"]
        for what, values in (("bands", bands), ("genres", genres)):
            above = sum(rate > 0.015 for rate in values)
            middle = statistics.median(values)
            print(
                f"{name}, {what}: {len(values)} rates, median {100 * middle:.2f} %, "
                f"highest {100 * max(values):.2f} %, above 1.5 %: {above}"
            )
    return 0


def rates(documents: dict[str, list[list[int]]], salt: int, p_of: PValues) -> Rates:
    halves = {genre: split(every, salt) for genre, every in documents.items()}
    nulls = [fit(fit_half, genre, "") for genre, (fit_half, _) in halves.items()]
    found: Rates = {}
    for genre, (_, held_out) in halves.items():
        hits: list[tuple[bool, bool]] = []
        for band in BANDS:
            cut = [extreme(piece, nulls, p_of) for _, piece in pieces(held_out, band)]
            hits += cut
            if len(cut) >= FEWEST:
                add(found, genre, f"{band[0]}", cut)
        add(found, genre, "all", hits)
    return found


def extreme(piece: Sequence[int], nulls: Sequence[Null], p_of: PValues) -> tuple[bool, bool]:
    ps = [p_of(null, *distinct(piece)) for null in nulls]
    return max(red for red, _ in ps) <= LEVEL, max(blue for _, blue in ps) <= LEVEL


def add(found: Rates, genre: str, band: str, hits: Sequence[tuple[bool, bool]]) -> None:
    for colour, column in zip(("red", "blue"), zip(*hits)):
        found[genre, band, colour] = sum(column) / len(hits)


def split(documents: Sequence[list[int]], salt: int) -> tuple[list[list[int]], list[list[int]]]:
    """Fit half and held-out half."""
    halves: tuple[list[list[int]], list[list[int]]] = ([], [])
    for ids in documents:
        halves[hashlib.sha256(f"{salt} {ids}".encode()).digest()[0] & 1].append(ids)
    return halves


if __name__ == "__main__":
    sys.exit(main())
