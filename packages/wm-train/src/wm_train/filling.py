"""Fills forward passes with trees up to a budget of tokens. Knows no tensor and no pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wm_train.grouping import Group


class Slot(NamedTuple):
    """A tree in a row, by its number in its group."""

    group: Group
    tree: int


Row = list[Slot]  # trees side by side


def filled(groups: Sequence[Group], capacity: int, budget: int) -> list[list[Row]]:
    """Packs of at most `budget` tokens, padding included, each with all trees of its groups.

    First fit, longest first: trees side by side in rows of at most `capacity` tokens. A group that
    is larger than either has them for itself.
    """
    packs: list[list[Row]] = []
    for group in sorted(groups, key=widest, reverse=True):
        for number, rows in enumerate(packs):
            joined = with_group(rows, group, capacity)
            if area(joined) <= budget:
                packs[number] = joined
                break
        else:
            packs.append(with_group([], group, capacity))
    return [sorted(rows, key=length, reverse=True) for rows in packs]


def with_group(rows: Sequence[Row], group: Group, capacity: int) -> list[Row]:
    """`rows` and the trees of one more group, which may open rows."""
    rows = [[*row] for row in rows]
    for number, tree in enumerate(group.trees):
        fitting = next((row for row in rows if length(row) + len(tree) <= capacity), None)
        if fitting is None:
            rows.append(fitting := [])
        fitting.append(Slot(group, number))
    return rows


def groups_of(rows: Sequence[Row]) -> list[Group]:
    """The groups of a pack, in the order in which their first trees stand in it."""
    return list({id(slot.group): slot.group for row in rows for slot in row}.values())


def widest(group: Group) -> int:
    """Tokens of the group's largest tree."""
    return max(map(len, group.trees))


def length(row: Row) -> int:
    """Tokens side by side."""
    return sum(len(slot.group.trees[slot.tree]) for slot in row)


def area(rows: Sequence[Row]) -> int:
    """Tokens computed, padding included."""
    return len(rows) * max(map(length, rows))
