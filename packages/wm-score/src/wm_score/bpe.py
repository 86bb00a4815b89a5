"""Byte-level BPE over one piece of text. Splits nothing: the caller hands it one piece.

A pair of neighbours merges when their bytes together are a token; the lowest id goes first, the
leftmost of equals before the others. Four forms of the same thing, by length of the piece.

Two of them rest on one fact: a list of tokens is the BPE of its bytes exactly when every two
neighbours in it are the BPE of their own bytes (found and proved by the authors of GitHub's
`bpe` crate; `tests/test_bpe.py` compares all forms).
"""

from __future__ import annotations

from array import array
from heapq import heapify, heappop, heappush

from wm_score.tables import lefts

WORD = 40  # bytes; up to it a piece is likely to be two tokens
SHORT = 160  # bytes; above it the heap is faster than the scan
BLOCK = 1 << 13  # bytes; the heap of one block stays in the processor's cache
MARGIN = 256  # bytes; two of the longest tokens
NEVER = 1 << 40  # above every id


def bpe(piece: bytes, ranks: dict[bytes, int]) -> list[int]:
    """Ids of one piece, in O(n log n) time at any length.

    >>> from wm_score.tables import ranks
    >>> bpe(b" unmarked", ranks())
    [650, 46362]
    """
    whole = ranks.get(piece)
    if whole is not None:
        return [whole]
    if len(piece) > BLOCK:
        return _blocks(piece, ranks)
    if len(piece) <= WORD:
        two = _pair(piece, ranks, lefts())
        if two:
            return two
    parts = _scan(piece, ranks) if len(piece) <= SHORT else _heap(piece, ranks)
    return [ranks[part] for part in parts]


def _pair(piece: bytes, ranks: dict[bytes, int], lefts: bytes) -> list[int]:
    """The ids of a piece of two tokens, as three in four of the unknown words are; else empty."""
    get = ranks.get
    for end in range(len(piece) - 1, 0, -1):
        right = get(piece[end:])
        if right is not None:
            left = get(piece[:end])
            if left is not None and _fit(piece[:end], piece[end:], left, right, ranks, lefts):
                return [left, right]
    return []


def _fit(
    left: bytes, right: bytes, left_id: int, right_id: int, ranks: dict[bytes, int], lefts: bytes
) -> bool:
    """Whether two tokens are the BPE of their bytes: undo their merges from the last to the first,
    and see whether a merge across the border would have come before one of them.
    """
    get = ranks.get
    limit = NEVER
    while get(left + right, NEVER) >= limit:
        if left_id > right_id:
            if left_id < 256:
                return True  # two single bytes
            limit = left_id
            left = left[lefts[left_id] :]
            left_id = ranks[left]
        else:
            if right_id < 256:
                return True
            limit = right_id + 1  # of two equal merges the left one goes first
            right = right[: lefts[right_id]]
            right_id = ranks[right]
    return False


def _scan(piece: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """Look through all pairs for the lowest, merge it, repeat: best for words."""
    get = ranks.get
    parts = [piece[i : i + 1] for i in range(len(piece))]
    pairs = [get(piece[i : i + 2], NEVER) for i in range(len(piece) - 1)]
    while pairs:
        lowest = min(pairs)
        if lowest == NEVER:
            break
        i = pairs.index(lowest)
        merged = parts[i] + parts.pop(i + 1)
        parts[i] = merged
        del pairs[i]
        if i < len(pairs):
            pairs[i] = get(merged + parts[i + 1], NEVER)
        if i:
            pairs[i - 1] = get(parts[i - 1] + merged, NEVER)
    return parts


def _heap(piece: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The same with a heap of pairs and a linked list of parts."""
    n = len(piece)
    get = ranks.get
    end = array(
        "q", range(1, n + 1)
    )  # part at start i is piece[i:end[i]]; end[i] is the next start
    before = array("q", range(-1, n))  # start of the part before the one at i
    pair = array("q", [get(piece[i : i + 2], NEVER) for i in range(n - 1)])
    pair.append(NEVER)  # pair[i]: id of the part at i with the next one
    heap = [rank << 32 | i for i, rank in enumerate(pair) if rank != NEVER]
    heapify(heap)
    while heap:
        item = heappop(heap)
        i = item & 0xFFFFFFFF
        if pair[i] != item >> 32:
            continue  # one of the two parts has changed since
        middle = end[i]
        after = end[middle]
        end[i] = after
        pair[middle] = NEVER
        if after < n:
            before[after] = i
            pair[i] = rank = get(piece[i : end[after]], NEVER)
            if rank != NEVER:
                heappush(heap, rank << 32 | i)
        else:
            pair[i] = NEVER
        if i:
            left = before[i]
            pair[left] = rank = get(piece[left:after], NEVER)
            if rank != NEVER:
                heappush(heap, rank << 32 | left)
    parts: list[bytes] = []
    start = 0
    while start < n:
        parts.append(piece[start : end[start]])
        start = end[start]
    return parts


def _blocks(piece: bytes, ranks: dict[bytes, int]) -> list[int]:
    """The same for very long pieces, block by block, in memory bounded by the block.

    A block may begin at any token border of the one before it, if the two tokens at the border
    fit; where they do not, the border moves back.
    """
    ids: list[int] = []
    lengths = array("H")  # bytes of each id
    start = 0  # bytes of the piece that `ids` covers
    size = BLOCK
    while True:
        block = piece[start : start + size]
        found = _heap(block, ranks)
        last = piece[start - lengths[-1] : start] if ids else b""
        if ids and not _fit(last, found[0], ids[-1], ranks[found[0]], ranks, lefts()):
            ids.pop()
            start -= lengths.pop()
            size += 128  # so that the block after a step back still ends further on
            continue
        ids += [ranks[part] for part in found]
        lengths.extend(map(len, found))
        start += len(block)
        size = BLOCK
        if start >= len(piece):
            return ids
        # The last tokens were made without what follows them and would seldom fit. The check
        # above is all that exactness needs; without this step back most blocks are made twice.
        back = 0
        while back < MARGIN and len(ids) > 1:
            ids.pop()
            back += lengths.pop()
        start -= back
