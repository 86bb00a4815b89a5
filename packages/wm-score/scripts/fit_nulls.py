"""Fits the shipped nulls on a folder of unmarked text and prints the README's tables.

    python scripts/fit_nulls.py CORPORA

CORPORA holds `<genre>.jsonl` files with a field `text`. Documents are split in half by a hash of
their text: one half is fitted, the other only judged. Only figures are written, no text.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from wm_score.fitting import fit
from wm_score.null import Null
from wm_score.proof import Evidence, counted_ids, evidence_of

DATA = Path(__file__).resolve().parent.parent / "src" / "wm_score" / "data"
SOURCES = {
    "assistant_en": "replies to role-play and writing instructions, teknium1/GPTeacher (MIT)",
    "code": "short code answers, teknium1/GPTeacher (MIT)",
    "news_de": "German news, a WMT test set",
    "news_en": "news articles, a sample of CNN/DailyMail",
}
BANDS = ((16, 31), (32, 63), (64, 127), (128, 255), (256, 511))
POWER_LENGTHS = (25, 50, 100, 200)
BIASES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6)


def main() -> int:
    corpora = Path(sys.argv[1])
    halves = {genre: split(read(corpora / f"{genre}.jsonl")) for genre in sorted(SOURCES)}
    fitted: list[Null] = []
    for genre, (fit_half, _) in halves.items():
        digest = hashlib.sha256((corpora / f"{genre}.jsonl").read_bytes()).hexdigest()
        source = f"{SOURCES[genre]}; fit half of the file with SHA-256 {digest}"
        fitted.append(fit(fit_half, genre, source))
    written = "[\n" + ",\n".join(null.to_json() for null in fitted) + "\n]\n"
    (DATA / "nulls.json").write_text(written, encoding="ascii")
    held_out = {genre: half for genre, (_, half) in halves.items()}
    print_nulls(fitted)
    print_false_positives(held_out)
    print_power(held_out)
    return 0


def read(path: Path) -> list[list[int]]:
    with path.open(encoding="utf-8") as lines:
        return [counted_ids(json.loads(line)["text"]) for line in lines]


def split(documents: Sequence[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Fit half and held-out half."""
    halves: tuple[list[list[int]], list[list[int]]] = ([], [])
    for ids in documents:
        halves[hashlib.sha256(repr(ids).encode()).digest()[0] & 1].append(ids)
    return halves


def pieces(
    documents: Sequence[list[int]], band: tuple[int, int]
) -> Iterator[tuple[int, list[int]]]:
    """Pieces of lengths within a band, end to end, with their document's number."""
    rng = random.Random(band[0])
    for number, ids in enumerate(documents):
        start = 0
        while True:
            piece = ids[start : start + rng.randint(*band)]
            if len(piece) < band[0]:
                break
            start += len(piece)
            yield number, piece


def print_nulls(fitted: Sequence[Null]) -> None:
    print("| null | documents | pieces | lowest p | even share at 64 distinct | dispersion "
          "| reach |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for null in fitted:
        print(
            f"| `{null.name}` | {null.documents} | {null.pieces} | {1 / (null.pieces + 1):.4f} "
            f"| {null.share[0]:.3f} {null.share[1]:+.4f} a doubling "
            f"| {null.dispersion[0]:.2f} {null.dispersion[1]:+.3f} a doubling "
            f"| {null.reach[0]} to {null.reach[1]} |"
        )


def print_false_positives(held_out: dict[str, list[list[int]]]) -> None:
    print("\n| genre | counted tokens | pieces (documents) | own null red | own null blue "
          "| default red | default blue |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for genre, documents in held_out.items():
        every: list[tuple[int, Evidence, Evidence]] = []
        for band in BANDS:
            rows = [
                (number, evidence_of(piece, genre), evidence_of(piece))
                for number, piece in pieces(documents, band)
            ]
            every += rows
            if rows:
                print_rates(genre, f"{band[0]} to {band[1]}", rows)
        print_rates(genre, "all of these", every)


def print_rates(genre: str, label: str, rows: Sequence[tuple[int, Evidence, Evidence]]) -> None:
    hits = [
        [(number, own.red_p <= 0.01) for number, own, _ in rows],
        [(number, own.blue_p <= 0.01) for number, own, _ in rows],
        [(number, default.red_p <= 0.01) for number, _, default in rows],
        [(number, default.blue_p <= 0.01) for number, _, default in rows],
    ]
    cells = " | ".join(with_interval(column) for column in hits)
    print(f"| {genre} | {label} | {len(rows)} ({len({row[0] for row in rows})}) | {cells} |")


def with_interval(hits: Sequence[tuple[int, bool]]) -> str:
    """Rate in percent with a 95 % Wilson interval, on as many texts as the design effect leaves."""
    n = len(hits)
    rate = sum(hit for _, hit in hits) / n
    documents = len({number for number, _ in hits})
    effect = 1.6 if n > documents else 1.0  # several pieces a document are not independent
    n_effective = n / effect
    z = 1.96
    middle = (rate + z * z / (2 * n_effective)) / (1 + z * z / n_effective)
    half = (
        z
        * (rate * (1 - rate) / n_effective + z * z / (4 * n_effective**2)) ** 0.5
        / (1 + z * z / n_effective)
    )
    return f"{100 * rate:.1f} ({100 * max(0, middle - half):.1f} to {100 * (middle + half):.1f})"


def print_power(held_out: dict[str, list[list[int]]]) -> None:
    """Marked text by thinning: from held-out documents run together, each counted token of the
    wrong colour is left out with probability `bias`; pieces are cut from what stays.
    """
    for null in ("assistant_en", "default"):
        print(f"\nnull `{null}`\n")
        print("| bias | counted share reached | " +
              " | ".join(f"{n} tokens" for n in POWER_LENGTHS) + " |")  # fmt: skip
        print("|---" * (2 + len(POWER_LENGTHS)) + "|")
        for bias in BIASES:
            cells: list[str] = []
            shares: list[float] = []
            for length in POWER_LENGTHS:
                found: list[bool] = []
                for colour in (0, 1):
                    for piece in thinned(held_out["assistant_en"], bias, colour, length):
                        shares.append(sum(i % 2 == colour for i in piece) / length)
                        p = evidence_of(piece, null)
                        found.append((p.blue_p if colour else p.red_p) <= 0.01)
                cells.append(f"{100 * sum(found) / len(found):.0f} % ({len(found)})")
            print(f"| {bias:.1f} | {sum(shares) / len(shares):.2f} | " + " | ".join(cells) + " |")


def thinned(
    documents: Sequence[list[int]], bias: float, colour: int, length: int
) -> Iterator[list[int]]:
    """One piece a document (documents too short are run together with the next)."""
    rng = random.Random(f"{bias} {colour} {length}")
    piece: list[int] = []
    for ids in documents:
        piece += [i for i in ids if i % 2 == colour or rng.random() >= bias]
        if len(piece) >= length:
            yield piece[:length]
            piece = []


if __name__ == "__main__":
    sys.exit(main())
