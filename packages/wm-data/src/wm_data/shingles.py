"""What two texts are compared by: the runs of characters or words that they are made of.

As strings for reading, and as 64-bit hashes, sorted, for comparing many: see docs/adr/0021.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_data.rows import normalise

PROMPT_CHARACTERS = 5  # prompts are short: overlapping runs of characters
ANSWER_WORDS = 3  # answers are long: overlapping runs of words

Hashes = npt.NDArray[np.uint64]  # (shingles,) sorted, each once
Places = npt.NDArray[np.integer[Any]]  # (shingles,) characters

# Odd, so that it has an inverse modulo 2^64 (Knuth's constant for multiplicative hashing).
BASE = 6364136223846793005
INVERSE = pow(BASE, -1, 1 << 64)


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


def prompt_hashes(text: str) -> Hashes:
    """One hash for each of `prompt_shingles`."""
    codes = _codes(normalise(text))
    starts = np.arange(max(1, len(codes) - PROMPT_CHARACTERS + 1))
    return _hashes(codes, starts, np.minimum(starts + PROMPT_CHARACTERS, len(codes)))


def answer_hashes(text: str) -> Hashes:
    """One hash for each of `answer_shingles`."""
    codes = _codes(normalise(text))  # words stand one space apart
    spaces = np.flatnonzero(codes == ord(" "))
    starts = np.concatenate(([0], spaces + 1))
    ends = np.concatenate((spaces, [len(codes)]))
    last = max(1, len(starts) - ANSWER_WORDS + 1)
    return _hashes(codes, starts[:last], ends[min(ANSWER_WORDS, len(ends)) - 1 :])


def jaccard(one: frozenset[str], two: frozenset[str]) -> float:
    """Shared shingles over all shingles.

    >>> jaccard(frozenset("abc"), frozenset("bcd"))
    0.5
    """
    return len(one & two) / len(one | two) if one or two else 1.0


def _codes(text: str) -> npt.NDArray[np.uint64]:
    data = text.encode("utf-32-le", "surrogatepass")
    return np.frombuffer(data, np.uint32).astype(np.uint64)


def _hashes(codes: npt.NDArray[np.uint64], starts: Places, ends: Places) -> Hashes:
    """Polynomial hashes of the runs [start, end), from the differences of one running sum."""
    powers, inverses = _powers(1 << max(8, len(codes).bit_length()))
    # Plus one, so that runs of NUL characters differ by their length.
    running = np.concatenate(([np.uint64(0)], np.cumsum((codes + 1) * powers[: len(codes)])))
    return np.unique((running[ends] - running[starts]) * inverses[starts])


@functools.lru_cache(maxsize=2)
def _powers(length: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Powers of BASE and of its inverse, modulo 2^64."""
    found = [np.full(length, factor, np.uint64) for factor in (BASE, INVERSE)]
    for powers in found:
        powers[0] = 1
        np.cumprod(powers, out=powers)
    return found[0], found[1]
