"""How high a rate may be when few were seen. Exact binomial; knows nothing of text."""

from __future__ import annotations

import math
from functools import lru_cache

CONFIDENCE = 0.95  # one-sided


@lru_cache(maxsize=8192)
def highest_rate(hits: int, n: int) -> float:
    """Upper 95 % confidence bound of a rate with `hits` of `n` (Clopper and Pearson, 1934).

    >>> round(highest_rate(0, 300), 5), round(highest_rate(3, 300), 5), highest_rate(300, 300)
    (0.00994, 0.02564, 1.0)
    """
    if hits >= n:
        return 1.0
    low, high = hits / n, 1.0
    for _ in range(40):  # halvings: to 12 digits
        middle = (low + high) / 2
        if _at_most(hits, n, middle) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def _at_most(hits: int, n: int, rate: float) -> float:
    """Probability of at most so many hits, for a rate above hits / n: summed downward."""
    term = math.exp(
        math.lgamma(n + 1)
        - math.lgamma(hits + 1)
        - math.lgamma(n - hits + 1)
        + hits * math.log(rate)
        + (n - hits) * math.log1p(-rate)
    )
    total = 0.0
    for k in range(hits, -1, -1):
        total += term
        if term < 1e-16 * total:
            break
        term *= k * (1 - rate) / ((n - k + 1) * rate)
    return total
