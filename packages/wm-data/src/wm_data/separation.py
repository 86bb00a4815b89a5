"""How well one number alone would tell red answers from blue ones. Knows nothing of texts."""

from __future__ import annotations

from collections.abc import Sequence


def auc(red: Sequence[float], blue: Sequence[float]) -> float:
    """Chance that a red value is above a blue one, ties counting half; 0.5 tells nothing.

    >>> auc([1, 2], [1, 2]), auc([2, 3], [1, 1])
    (0.5, 1.0)
    """
    ranked = sorted([(value, 1) for value in red] + [(value, 0) for value in blue])
    above = below = start = 0
    while start < len(ranked):
        end = start
        while end < len(ranked) and ranked[end][0] == ranked[start][0]:
            end += 1
        reds = sum(colour for _, colour in ranked[start:end])
        blues = end - start - reds
        above += reds * (2 * below + blues)  # twice the count, so that halves stay whole
        below += blues
        start = end
    return above / (2 * len(red) * len(blue)) if red and blue else 0.5


def best_accuracy(red: Sequence[float], blue: Sequence[float]) -> float:
    """Share right by the best single threshold, chosen on the very same values.

    >>> best_accuracy([1, 2, 3], [4, 5, 6]), best_accuracy([1, 1], [1, 1])
    (1.0, 0.5)
    """
    ranked = sorted([(value, 1) for value in red] + [(value, -1) for value in blue])
    best = max(len(red), len(blue))  # a threshold below all: one colour for every text
    balance = 0  # red minus blue at or below the threshold
    for place, (value, colour) in enumerate(ranked):
        balance += colour
        if place + 1 == len(ranked) or ranked[place + 1][0] != value:
            best = max(best, len(blue) + balance, len(red) - balance)
    return best / len(ranked) if ranked else 0.5
