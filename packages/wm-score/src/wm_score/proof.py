"""How surprising a text would be if nobody had marked it. Knows the nulls; gives no verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Union

from wm_score import fitting, null_file
from wm_score.counting import chunks
from wm_score.errors import InputError
from wm_score.null import Null, distinct
from wm_score.null_file import DEFAULT
from wm_score.rate import highest_rate
from wm_score.rule import tally
from wm_score.tables import BASE_TOKENS, counted
from wm_score.tokenizer import encode

NullLike = Union[str, Null]


@dataclass(frozen=True)
class Evidence:
    """P-values of a text against unmarked text, one for each colour.

    `documents` and `pieces` say how much unmarked text stands behind them; no p is below
    1 / (pieces + 1), with a null of one's own 1 / (documents + 1), and with the default null none
    below about 3 / pieces. Each counted id is taken once, so that repeats are no evidence.
    """

    __slots__ = ("blue_p", "distinct_even", "distinct_odd", "documents", "null", "pieces", "red_p")

    red_p: float
    blue_p: float
    distinct_even: int
    distinct_odd: int
    null: str
    documents: int
    pieces: int

    def __reduce__(self) -> tuple[type[Evidence], tuple[object, ...]]:
        return Evidence, (
            self.red_p,
            self.blue_p,
            self.distinct_even,
            self.distinct_odd,
            self.null,
            self.documents,
            self.pieces,
        )


def evidence(text: str, null: NullLike = DEFAULT) -> Evidence:
    """Evidence that a text carries either colour.

    `null` is a shipped genre (`assistant_en`, `code`, `news_de`, `news_en`), a `Null` of one's
    own, or `default`, for text of unknown origin: over the shipped genres the largest rate that
    unmarked text may have of being so extreme, at 95 % confidence.
    Raises InputError for a name that is not shipped.

    >>> found = evidence("The watermark, read twice.")
    >>> found.red_p > 0.05, found.blue_p > 0.05
    (True, True)
    """
    once = tally({token_id for chunk in chunks(text) for token_id in encode(chunk)})
    return standing(once.even, once.odd, null)


def evidence_of(ids: Iterable[int], null: NullLike = DEFAULT) -> Evidence:
    """The same for counted ids."""
    return standing(*distinct(ids), null)


def standing(even: int, odd: int, null: NullLike = DEFAULT) -> Evidence:
    """The same for numbers of distinct counted ids."""
    against = choose(null)
    cautious = null == DEFAULT
    ps = [one.cautious_p(even, odd) if cautious else one.p(even, odd) for one in against]
    return Evidence(
        red_p=max(red for red, _ in ps),
        blue_p=max(blue for _, blue in ps),
        distinct_even=even,
        distinct_odd=odd,
        null=null if isinstance(null, str) else null.name,
        documents=min(one.documents for one in against),
        pieces=min(one.pieces for one in against),
    )


def choose(null: NullLike) -> Sequence[Null]:
    """The nulls that a p is the largest over."""
    if isinstance(null, Null):
        return [null]
    shipped = null_file.shipped()
    if null == DEFAULT:
        return list(shipped.values())
    if null not in shipped:
        raise InputError(
            f"null {null!r} is not shipped; expected {DEFAULT}, {', '.join(shipped)}, or a null "
            "made with `wm-score calibrate`"
        )
    return [shipped[null]]


def lowest_p(null: NullLike) -> float:
    """The lowest p that the pieces behind a null support.

    >>> lowest_p("assistant_en") < 0.001 < lowest_p("default") < 0.01
    True
    """
    cautious = null == DEFAULT
    return max(highest_rate(0, one.pieces) if cautious else one.lowest for one in choose(null))


def counted_ids(text: str) -> list[int]:
    """The ids of a text that count, in order."""
    table = counted()
    return [i for i in encode(text) if i < BASE_TOKENS and table[i]]


def fit_null(texts: Iterable[str], name: str, source: str = "") -> Null:
    """A null of one's own, from unmarked texts that are independent of one another.

    Copies of a text count as one. Raises InputError for a shipped null's name, and when the texts
    are too few: 30 of at least 12 counted tokens are needed, and 99 pieces of 12 to 128.
    """
    own = own_name(name)
    kept, _, _ = fitting.independent(map(counted_ids, texts))
    return fitting.fit(kept, own, source)


def own_name(name: str) -> str:
    """The name, if no shipped null has it. Raises InputError."""
    if name in null_file.reserved():
        raise InputError(f"null name {name!r} is that of a shipped null; choose another name")
    return name


def load_null(path: str) -> Null:
    """A null from a file. Raises InputError."""
    return null_file.load(path)
