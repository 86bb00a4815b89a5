"""Finds near duplicates between splits and drops the one in training. Reads no scores.

Two texts are near when the Jaccard index of their shingles reaches the threshold. The search is
exact: a text that is near one of n shingles has at least ceil(threshold * n) of them, so it cannot
lack all of any n - ceil(threshold * n) + 1. The rarest so many of each text are the index
(Chaudhuri, Ganti and Kaushik, ICDE 2006: prefix filtering). What is found there is compared, unless
it would be too far off even if all that is not in the index were shared.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from wm_data.audit import Measured
from wm_data.progress import tracked
from wm_data.recipe import NearRules
from wm_data.shingles import (
    ANSWER_WORDS,
    PROMPT_CHARACTERS,
    Hashes,
    answer_hashes,
    prompt_hashes,
)

REASON = "near duplicate"


def drop_near(
    splits: dict[str, list[Measured]], rules: NearRules, progress: bool
) -> tuple[dict[str, list[Measured]], list[Measured]]:
    """Splits without near duplicates of each other, and the rows that were dropped.

    Test keeps all, validation loses what is near test, training what is near either. Prompts are
    compared with prompts and answers with answers of either colour.
    """
    kept = {"test": splits["test"]}
    lost: list[Measured] = []
    before = list(splits["test"])
    for name in ("validation", "train"):
        near = _near(splits[name], before, rules.threshold, progress, name)
        kept[name] = [item for item in splits[name] if item.row_id not in near]
        lost += [replace(item, reason=REASON) for item in splits[name] if item.row_id in near]
        before += kept[name]
    return {name: kept[name] for name in splits}, lost


def near_check(rules: NearRules) -> dict[str, float | int]:
    """What was looked for, for the manifest: the threshold, and what a shingle is."""
    return {
        "threshold": rules.threshold,
        "prompt_characters": PROMPT_CHARACTERS,
        "answer_words": ANSWER_WORDS,
    }


def _near(
    items: list[Measured], others: list[Measured], threshold: float, progress: bool, name: str
) -> set[str]:
    """Row ids of `items` near a prompt or an answer of `others`."""
    found: set[str] = set()
    for part, hashes, texts in (
        ("prompts", prompt_hashes, _prompts),
        ("answers", answer_hashes, _answers),
    ):
        # Each text once: rows share prompts, and all those of two prompts would make pairs.
        distinct = dict.fromkeys(text for item in others for text in texts(item))
        index = _Index([*map(hashes, distinct)], threshold)
        what = f"near duplicates of {name} {part}"
        is_near = _asker(index, hashes)
        for item in tracked(items, what, progress, len(items)):
            if item.row_id not in found and any(map(is_near, texts(item))):
                found.add(item.row_id)
    return found


def _asker(index: _Index, hashes: Callable[[str], Hashes]) -> Callable[[str], bool]:
    """Whether a text is near one of the index; asked again, from memory."""

    @functools.cache
    def is_near(text: str) -> bool:
        return index.has_near(hashes(text))

    return is_near


def _prompts(item: Measured) -> Iterable[str]:
    return (item.row.prompt,)


def _answers(item: Measured) -> Iterable[str]:
    return (item.row.red_answer, item.row.blue_answer)


class _Index:
    """Texts by their rarest shingles."""

    def __init__(self, sets: Sequence[Hashes], threshold: float) -> None:
        self.sets, self.threshold = sets, threshold
        if not sets:
            return
        _, places, counts = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
        commonness = np.split(counts[places], np.cumsum([len(found) for found in sets])[:-1])
        rare = [
            found[np.argsort(common, kind="stable")[: self._prefix(len(found))]]
            for found, common in zip(sets, commonness, strict=True)
        ]
        self.sizes = np.array([len(found) for found in sets])
        self.indexed = np.array([len(found) for found in rare])
        keys = np.concatenate(rare)
        owners = np.repeat(np.arange(len(sets)), self.indexed)
        order = np.argsort(keys, kind="stable")
        self.keys, self.owners = keys[order], owners[order]

    def has_near(self, found: Hashes) -> bool:
        """Whether a text of the index is near this one."""
        if not self.sets:
            return False
        first = np.searchsorted(self.keys, found, "left")
        last = np.searchsorted(self.keys, found, "right")
        hits = [self.owners[first[at] : last[at]] for at in np.flatnonzero(last > first)]
        if not hits:
            return False
        owners, shared = np.unique(np.concatenate(hits), return_counts=True)
        sizes = self.sizes[owners]
        most = np.minimum(shared + sizes - self.indexed[owners], len(found))
        hopeful = most >= self.threshold * (sizes + len(found) - most) - 1e-9  # no rounding error
        candidates: list[int] = owners[hopeful].tolist()
        return any(self._jaccard(found, self.sets[owner]) >= self.threshold for owner in candidates)

    def _prefix(self, length: int) -> int:
        # Less a rounding error, so that .8 of 5 are 4 and not 5: one shingle too many does no harm.
        return length - math.ceil(self.threshold * length - 1e-9) + 1

    @staticmethod
    def _jaccard(one: Hashes, two: Hashes) -> float:
        shared = np.intersect1d(one, two, assume_unique=True).size
        return shared / (len(one) + len(two) - shared)
