"""Finds near duplicates between splits by MinHash, and drops the one in training. Reads no scores.

Two texts are near when the Jaccard index of their shingles reaches the threshold. MinHash proposes
pairs (and can miss a few that are close to the threshold); the index itself is then computed, so
that nothing is dropped on an estimate.
"""

# datasketch's own types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, cast

from wm_data.audit import Measured
from wm_data.progress import tracked
from wm_data.recipe import NearRules
from wm_data.rows import normalise

REASON = "near duplicate"
PROMPT_CHARACTERS = 5  # prompts are short: overlapping runs of characters
SLACK = 0.75
ANSWER_WORDS = 3  # answers are long: overlapping runs of words


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
        near = _near(splits[name], before, rules, progress, name)
        kept[name] = [item for item in splits[name] if item.row_id not in near]
        lost += [replace(item, reason=REASON) for item in splits[name] if item.row_id in near]
        before += kept[name]
    return {name: kept[name] for name in splits}, lost


def prompt_shingles(text: str) -> frozenset[str]:
    """Runs of characters of a normalised prompt.

    >>> sorted(prompt_shingles("Why law?"))
    [' law?', 'hy la', 'why l', 'y law']
    """
    text = normalise(text)
    last = max(1, len(text) - PROMPT_CHARACTERS + 1)
    return frozenset(text[start : start + PROMPT_CHARACTERS] for start in range(last))


def answer_shingles(text: str) -> frozenset[str]:
    """Runs of words of an answer, case and spacing aside."""
    words = normalise(text).split()
    last = max(1, len(words) - ANSWER_WORDS + 1)
    return frozenset(" ".join(words[start : start + ANSWER_WORDS]) for start in range(last))


def jaccard(one: frozenset[str], two: frozenset[str]) -> float:
    """Shared shingles over all shingles.

    >>> jaccard(frozenset("abc"), frozenset("bcd"))
    0.5
    """
    return len(one & two) / len(one | two) if one or two else 1.0


def _near(
    items: list[Measured], others: list[Measured], rules: NearRules, progress: bool, name: str
) -> set[str]:
    """Row ids of `items` near a prompt or an answer of `others`."""
    found: set[str] = set()
    for part, shingles, texts in (
        ("prompts", prompt_shingles, _prompts),
        ("answers", answer_shingles, _answers),
    ):
        index = _Index(rules, shingles)
        for item in others:
            index.add(texts(item))
        what = f"near duplicates of {name} {part}"
        for item in tracked(items, what, progress, len(items)):
            if item.row_id not in found and index.has_near(texts(item)):
                found.add(item.row_id)
    return found


def _prompts(item: Measured) -> Iterable[str]:
    return (item.row.prompt,)


def _answers(item: Measured) -> Iterable[str]:
    return (item.row.red_answer, item.row.blue_answer)


class _Index:
    """Texts by MinHash. Each text is kept once, as its shingles."""

    def __init__(self, rules: NearRules, shingles: Callable[[str], frozenset[str]]) -> None:
        from datasketch import MinHashLSH

        self.rules, self.shingles = rules, shingles
        # Asked for looser pairs than wanted, it misses next to none of those that are: the exact
        # index throws the others out.
        loose = SLACK * rules.threshold
        self.lsh = MinHashLSH(threshold=loose, num_perm=rules.permutations, weights=(0.1, 0.9))
        self.known: dict[frozenset[str], int] = {}
        self.sets: list[frozenset[str]] = []

    def add(self, texts: Iterable[str]) -> None:
        for found in map(self.shingles, texts):
            if found not in self.known:
                self.known[found] = len(self.sets)
                self.lsh.insert(self.known[found], self._hash(found))
                self.sets.append(found)

    def has_near(self, texts: Iterable[str]) -> bool:
        return any(
            found in self.known
            or any(
                jaccard(found, self.sets[key]) >= self.rules.threshold
                for key in self._candidates(found)
            )
            for found in map(self.shingles, texts)
        )

    def _candidates(self, found: frozenset[str]) -> Iterator[int]:
        yield from cast(list[int], self.lsh.query(self._hash(found)))

    def _hash(self, found: frozenset[str]) -> Any:
        from datasketch import MinHash

        hashed = MinHash(num_perm=self.rules.permutations, hashfunc=zlib.crc32)
        hashed.update_batch([shingle.encode("utf-8", "surrogatepass") for shingle in found])
        return hashed
