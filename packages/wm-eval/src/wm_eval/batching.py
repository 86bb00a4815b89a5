"""Which requests are answered together, and what their prompts have in common. Runs no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wm_eval.generator import Request


def batches(
    requests: Sequence[Request], lengths: dict[str, int], batch_size: int
) -> Iterator[list[list[Request]]]:
    """Families in batches of at most `batch_size` rows, longest first (memory runs out early).

    A batch holds families of one size, one token limit and one set of options.
    """
    families: dict[str, list[Request]] = {}
    for request in requests:
        families.setdefault(request.family, []).append(request)
    kinds: dict[tuple[int, int, tuple[str, ...]], list[list[Request]]] = {}
    for family in families.values():
        kind = (len(family), family[0].max_new_tokens, family[0].options)
        kinds.setdefault(kind, []).append(family)
    for (size, _, _), members in sorted(kinds.items()):
        members.sort(key=lambda family: (-max(lengths[r.id] for r in family), family[0].id))
        per = max(1, batch_size // size)
        for start in range(0, len(members), per):
            yield members[start : start + per]


def split_families(families: list[list[list[int]]]) -> tuple[list[list[int]], list[list[int]]]:
    """Common beginning of each family, and what is left of each member (at least one id).

    >>> split_families([[[1, 2, 3], [1, 2, 4, 5]]])
    ([[1, 2]], [[3], [4, 5]])
    >>> split_families([[[1, 2]], [[3]]])
    ([[1, 2], [3]], [])
    """
    heads: list[list[int]] = []
    tails: list[list[int]] = []
    for family in families:
        if len(family) == 1:
            heads.append(family[0])
            continue
        shared = min(len(member) for member in family) - 1
        for column, ids in enumerate(zip(*family, strict=False)):
            if column >= shared or len(set(ids)) > 1:
                shared = column
                break
        heads.append(family[0][:shared])
        tails.extend(member[shared:] for member in family)
    return heads, tails
