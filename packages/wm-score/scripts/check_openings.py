"""How often the beginnings of unmarked documents get a small p. Writes nothing.

    python scripts/check_openings.py CORPORA

People score a text from its beginning; the nulls are fitted on pieces from all over a document.
Over the halvings of `check_default.py`, the first piece of each held-out document alone: the
share with p <= 0.01 and 0.05, for the default null and for the genre's own, by band and colour.
"""

from __future__ import annotations

import sys
from pathlib import Path

from check_default import FEWEST, SALTS, split
from fit_nulls import BANDS, SOURCES, pieces, read

from wm_score.fitting import fit
from wm_score.null import distinct

LEVELS = (0.01, 0.05)


def main() -> int:
    documents = {genre: read(Path(sys.argv[1]) / f"{genre}.jsonl") for genre in sorted(SOURCES)}
    hits: dict[tuple[str, int], list[list[bool]]] = {}
    for salt in SALTS:
        halves = {genre: split(every, salt) for genre, every in documents.items()}
        nulls = {genre: fit(fit_half, genre, "") for genre, (fit_half, _) in halves.items()}
        for genre, (_, held_out) in halves.items():
            for band in BANDS:
                first: dict[int, list[int]] = {}
                for number, piece in pieces(held_out, band):
                    first.setdefault(number, piece)
                for piece in first.values():
                    counts = distinct(piece)
                    cautious = [null.cautious_p(*counts) for null in nulls.values()]
                    default = [max(ps) for ps in zip(*cautious)]  # of red, of blue
                    ps = [*default, *nulls[genre].p(*counts)]
                    row = [p <= level for level in LEVELS for p in ps]
                    hits.setdefault((genre, band[0]), []).append(row)
    kinds = [f"{null} {colour}" for null in ("default", "own") for colour in ("red", "blue")]
    print(
        "genre, shortest, openings; "
        + "; ".join(f"{level}: {', '.join(kinds)}" for level in LEVELS)
    )
    for (genre, shortest), rows in hits.items():
        if len(rows) >= FEWEST * len(SALTS) // 10:
            rates = [f"{100 * sum(column) / len(rows):.1f}" for column in zip(*rows)]
            print(
                f"{genre}, {shortest}, {len(rows)}; {', '.join(rates[:4])}; {', '.join(rates[4:])}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
