"""Which requests are answered together, and what their prompts have in common. Runs no model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from wm_eval.generator import Request

MIN_SHARED = 16  # tokens, and
MIN_SHARERS = 4  # prompts: below either, running a beginning apart saves nothing
POOL = 256  # rows, or four batches if that is more: lost at most when an evaluation is killed

Message = Mapping[str, str]
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Family:
    """Requests that share the beginning of a prompt, and the opening that others have too."""

    requests: tuple[Request, ...]
    opening: Ids

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(request.id for request in self.requests)


def pools(
    requests: Sequence[Request],
    prompts: Mapping[str, list[int]],
    opening: Mapping[str, Ids],
    batch_size: int,
) -> Iterator[list[Family]]:
    """Families that take turns in one batch, in the order in which they are let in.

    A pool holds families of one size, one token limit and one set of options, those of one opening
    side by side and the longest first (memory runs out early). It depends on nothing but the
    requests: an evaluation that goes on asks the same pools.
    """
    families: dict[str, list[Request]] = {}
    for request in requests:
        families.setdefault(request.family, []).append(request)
    kinds: dict[tuple[int, int, tuple[str, ...]], list[Family]] = {}
    for members in families.values():
        one = members[0]
        shared = {opening[request.id] for request in members}
        family = Family(tuple(members), shared.pop() if len(shared) == 1 else ())
        kinds.setdefault((len(members), one.max_new_tokens, one.options), []).append(family)

    def order(family: Family) -> tuple[int, Ids, int, str]:
        longest = max(len(prompts[id]) for id in family.ids)
        return -len(family.opening), family.opening, -longest, family.ids[0]

    for (size, _, _), found in sorted(kinds.items()):
        found.sort(key=order)
        per = max(1, max(POOL, 4 * batch_size) // size)
        for start in range(0, len(found), per):
            yield found[start : start + per]


def openings(
    prompts: Mapping[str, list[int]], messages: Mapping[str, Sequence[Message]]
) -> dict[str, Ids]:
    """What each prompt begins with that enough others with its first message begin with too.

    Never a whole prompt: at least one id is left, whose logits are wanted.
    """
    alike: dict[str, list[str]] = {}
    for id in prompts:
        alike.setdefault(str(dict(messages[id][0])) if messages[id] else "", []).append(id)
    found: dict[str, Ids] = {}
    for ids in alike.values():
        shared = common([prompts[id] for id in ids])
        if len(shared) < MIN_SHARED or len(ids) < MIN_SHARERS:
            shared = ()
        found.update(dict.fromkeys(ids, shared))
    return found


def common(rows: Sequence[list[int]]) -> Ids:
    """What all rows begin with, but for the last id of the shortest.

    >>> common([[1, 2, 3], [1, 2, 4, 5]])
    (1, 2)
    >>> common([[1, 2], [1, 2]])
    (1,)
    """
    first, last = min(rows), max(rows)  # the two that differ earliest
    most = min(len(row) for row in rows) - 1
    for column, (a, b) in enumerate(zip(first, last, strict=False)):
        if column >= most or a != b:
            return tuple(first[:column])
    return tuple(first[: max(most, 0)])


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
        shared = len(common(family))
        heads.append(family[0][:shared])
        tails.extend(member[shared:] for member in family)
    return heads, tails


def runs(families: Sequence[Family], most: int) -> list[Family]:
    """The first families that have one opening and at most `most` rows: run together."""
    _, same = next(iter(groupby(families, key=lambda family: family.opening)))
    return list(same)[: max(1, most // len(families[0].requests))]
