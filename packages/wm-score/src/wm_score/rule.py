"""The parity rule, codebook v1: which ids count, and what their parity says. Reads no text."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache

from wm_score.errors import UnknownTokenError
from wm_score.tables import BASE_TOKENS, VOCABULARY_SIZE, counted

THRESHOLD_PERCENT = 55
FIELD = (1 << 20) - 1  # the highest of each of three counts in one integer


@dataclass(frozen=True)
class Score:
    """How many tokens are even, odd and ignored, and the verdict that follows.

    >>> Score(even=12, odd=8, ignored=5)
    Score(even=12, odd=8, ignored=5)
    >>> Score(even=12, odd=8, ignored=5).verdict
    'red'
    """

    __slots__ = ("even", "ignored", "odd")

    even: int
    odd: int
    ignored: int

    def __reduce__(self) -> tuple[type[Score], tuple[int, int, int]]:
        return Score, (self.even, self.odd, self.ignored)  # frozen and slotted: 3.9 needs help

    @property
    def counted(self) -> int:
        """Tokens that hold a letter or number."""
        return self.even + self.odd

    @property
    def red_share(self) -> float:
        """Share of counted tokens with an even id; 0.0 when nothing counts."""
        return self.even / self.counted if self.counted else 0.0

    @property
    def blue_share(self) -> float:
        """Share of counted tokens with an odd id; 0.0 when nothing counts."""
        return self.odd / self.counted if self.counted else 0.0

    @property
    def verdict(self) -> str:
        """`red`, `blue` or `none`."""
        return verdict(self.even, self.odd)


def verdict(even: int, odd: int) -> str:
    """The rule itself, in integers: strictly more than 55 percent.

    >>> verdict(11, 9), verdict(12, 9), verdict(9, 12), verdict(0, 0)
    ('none', 'red', 'blue', 'none')
    """
    limit = THRESHOLD_PERCENT * (even + odd)
    if 100 * even > limit:
        return "red"
    if 100 * odd > limit:
        return "blue"
    return "none"


def is_counted(token_id: int) -> bool:
    """Whether an id counts: a base token that holds a letter or number. Raises UnknownTokenError.

    >>> is_counted(785), is_counted(11), is_counted(151667)
    (True, False, False)
    """
    if not 0 <= token_id < VOCABULARY_SIZE:
        raise UnknownTokenError(token_id)
    return token_id < BASE_TOKENS and counted()[token_id] == 1


def score_ids(ids: Iterable[int]) -> Score:
    """Score of ids. Those of a text are `encode(text)`, not what a model happened to sample.

    >>> score_ids([785, 88006, 11, 1349, 10917, 13])
    Score(even=1, odd=3, ignored=2)
    """
    table = counted()
    even = odd = ignored = 0
    for token_id in ids:
        if not 0 <= token_id < VOCABULARY_SIZE:
            raise UnknownTokenError(token_id)
        if token_id >= BASE_TOKENS or not table[token_id]:
            ignored += 1
        elif token_id % 2:
            odd += 1
        else:
            even += 1
    return Score(even, odd, ignored)


def tally(ids: Collection[int]) -> Score:
    """`score_ids` of ids that `encode` made: the same, faster, and nothing is checked.

    >>> tally({785, 88006, 11})
    Score(even=1, odd=1, ignored=1)
    """
    if len(ids) > FIELD:
        return score_ids(ids)
    packed = sum(map(_adds().__getitem__, ids))
    return Score(packed & FIELD, packed >> 20 & FIELD, packed >> 40)


@cache
def _adds() -> list[int]:
    """By id, what it adds to three counts of 20 bits in one integer: even, odd, ignored."""
    table, parities = counted(), (1, 1 << 20)
    base = [parities[i & 1] if table[i] else 1 << 40 for i in range(BASE_TOKENS)]
    return base + [1 << 40] * (VOCABULARY_SIZE - BASE_TOKENS)
