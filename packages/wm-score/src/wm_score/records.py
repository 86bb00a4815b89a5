"""One input's figures as the command line reports them. Reads no files, prints nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wm_score.counting import chunks
from wm_score.proof import NullLike, standing
from wm_score.rule import Score, tally
from wm_score.tables import CODEBOOK
from wm_score.tokenizer import encode

ABSTAINED = "abstained"


def measure(name: str, text: Iterable[str], null: NullLike, fewest: int) -> dict[str, Any]:
    """Figures of one text, given in parts that no token crosses.

    With fewer than `fewest` counted tokens the verdict is `abstained` and the p-values are None.
    """
    even = odd = ignored = 0
    once: set[int] = set()
    for part in text:
        for chunk in chunks(part):
            ids = encode(chunk)
            found = tally(ids)
            even, odd, ignored = even + found.even, odd + found.odd, ignored + found.ignored
            once.update(ids)
    total, distinct = Score(even, odd, ignored), tally(once)
    proof = standing(distinct.even, distinct.odd, null)
    enough = total.counted >= fewest
    return {
        "input": name,
        "even": even,
        "odd": odd,
        "ignored": ignored,
        "red_share": round(total.red_share, 6),
        "blue_share": round(total.blue_share, 6),
        "verdict": total.verdict if enough else ABSTAINED,
        "red_p": round(proof.red_p, 6) if enough else None,
        "blue_p": round(proof.blue_p, 6) if enough else None,
        "distinct_even": proof.distinct_even,
        "distinct_odd": proof.distinct_odd,
        "counted": total.counted,
        "codebook": CODEBOOK,
        "null": proof.null,
        "null_documents": proof.documents,
        "null_pieces": proof.pieces,
    }
