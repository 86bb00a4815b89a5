"""Sequences that begin alike as one tree of tokens. Knows token ids, and no model or task.

A prompt stands once before all its answers, and a text once before all questions about it. Tokens
are laid out depth first, so the descendants of token j are the run [j, ends[j]), and "token i may
see token j" is `j <= i < ends[j]`: one comparison makes the attention mask of any tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Tree:
    """Tokens in depth-first order; every array has shape (tokens,)."""

    ids: Indices
    depths: Indices  # position in the sequence: what position embeddings are to see
    parents: Indices  # index of the token before it; -1 at a root
    ends: Indices  # one past its last descendant
    paths: list[Indices]  # for each sequence, in the order given: the indices of its tokens

    def __len__(self) -> int:
        return len(self.ids)


def grow(sequences: Sequence[Sequence[int]]) -> Tree:
    """The tree in which equal beginnings of `sequences` stand once.

    >>> tree = grow([[7, 8, 1], [7, 8, 2]])
    >>> tree.ids.tolist(), tree.depths.tolist(), tree.ends.tolist()
    ([7, 8, 1, 2], [0, 1, 2, 2], [4, 4, 3, 4])
    """
    ids: list[int] = []
    depths: list[int] = []
    ends: list[int] = []
    paths: list[Any] = [None] * len(sequences)
    path: list[int] = []
    before: Sequence[int] = ()
    # In lexicographic order each sequence leaves the one before it at their common prefix, and
    # that is depth-first order.
    for number in sorted(range(len(sequences)), key=lambda i: list(sequences[i])):
        sequence = sequences[number]
        shared = common_prefix(before, sequence)
        for index in path[shared:]:
            ends[index] = len(ids)
        path = path[:shared] + list(range(len(ids), len(ids) + len(sequence) - shared))
        ids += sequence[shared:]
        depths += range(shared, len(sequence))
        ends += [0] * (len(sequence) - shared)
        paths[number], before = np.array(path, dtype=np.int64), sequence
    for index in path:
        ends[index] = len(ids)
    parents = np.full(len(ids), -1, dtype=np.int64)
    for path_of in paths:
        parents[path_of[1:]] = path_of[:-1]
    as_array = (np.array(values, dtype=np.int64) for values in (ids, depths, ends))
    token_ids, positions, stops = as_array
    return Tree(token_ids, positions, parents, stops, paths)


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of ids in which `a` and `b` agree from the start.

    >>> common_prefix([1, 2, 3], [1, 2, 4, 5])
    2
    """
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return length
    low, high = 0, length  # a[:low] agrees, a[:high] does not: list comparison runs in C
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


def families(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices of prompts that are worth one tree: those that agree in half of the shorter one.

    The two orders of a detect question share all of its text; the two colours of a watermark
    prompt share a few words of its system message, and would only widen each other's mask.
    """
    found: list[list[int]] = []
    for index in sorted(range(len(prompts)), key=lambda i: list(prompts[i])):
        if found:
            last = prompts[found[-1][-1]]
            shorter = min(len(last), len(prompts[index]))
            if 2 * common_prefix(last, prompts[index]) >= shorter:
                found[-1].append(index)
                continue
        found.append([index])
    return found
