"""Puts rows into train, validation and test by prompt group or subject. Looks at no answer.

A row's split follows from the hash of its group, or of its subject if it has one, its source's role
and the shares: another source, a seed or a limit never moves it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from wm_data.audit import Measured
from wm_data.errors import WmDataError
from wm_data.recipe import Role, Shares

SPLITS = ("train", "validation", "test")
DUPLICATE = "duplicate"


def split_of(key: str, role: Role, shares: Shares) -> str:
    """The split that a row's `split_key` puts it into.

    >>> split_of("0" * 16, "both", Shares(test=0.1)), split_of("0" * 16, "train", Shares(test=0.1))
    ('test', 'train')
    """
    place = int(key, 16) / 16 ** len(key)  # uniform in [0, 1)
    if role == "heldout" or (role == "both" and place < shares.test):
        return "test"
    if shares.test <= place < shares.test + shares.validation:
        return "validation"
    return "train"


def settle(
    measured: Sequence[Measured], roles: Mapping[str, Role], shares: Shares
) -> list[Measured]:
    """The rows, where of equal ones the copy that is held out furthest is kept, else the first.

    Whichever source is read first: another source's copy of a test row does not bring it into
    training.
    """
    twice = {item.row_id for item in measured if item.reason == DUPLICATE}
    copies: dict[str, list[Measured]] = {}
    for item in measured:
        if item.row_id in twice and item.reason in ("", DUPLICATE):
            copies.setdefault(item.row_id, []).append(item)
    best = {
        id: max(found, key=lambda item: SPLITS.index(_split(item, roles, shares)))
        for id, found in copies.items()
    }

    def settled(item: Measured) -> Measured:
        if item.row_id not in best or item.reason not in ("", DUPLICATE):
            return item
        return replace(item, reason="" if item is best[item.row_id] else DUPLICATE)

    return [settled(item) for item in measured]


def _split(item: Measured, roles: Mapping[str, Role], shares: Shares) -> str:
    key = item.row.split_key if item.row.subject else item.group
    return split_of(key, roles[item.row.source], shares)


def split(
    measured: Iterable[Measured], roles: dict[str, Role], shares: Shares
) -> tuple[dict[str, list[Measured]], list[Measured]]:
    """Rows by split, and those dropped since their prompt or subject is held out elsewhere too."""
    splits: dict[str, list[Measured]] = {name: [] for name in SPLITS}
    for item in measured:
        splits[_split(item, roles, shares)].append(item)
    groups, subjects = set[str](), set[str]()
    lost: list[Measured] = []
    for name in reversed(SPLITS):
        kept: list[Measured] = []
        for item in splits[name]:
            if item.group in groups:
                lost.append(replace(item, reason="held-out prompt"))
            elif item.row.subject and item.row.split_key in subjects:
                lost.append(replace(item, reason="held-out subject"))
            else:
                kept.append(item)
        splits[name] = kept
        groups |= {item.group for item in kept}
        subjects |= {item.row.split_key for item in kept if item.row.subject}
    return splits, lost


def check_left(splits: Mapping[str, Sequence[Measured]], dropped: Iterable[Measured]) -> None:
    """Raise where there is no row to train or to test on; `dropped` says what became of them."""
    reasons = Counter((item.reason, item.row.source) for item in dropped)
    lost = [f"{n:,} of {source}: {reason}" for (reason, source), n in reasons.most_common()]
    why = f"; dropped rows are {', '.join(lost)}" if lost else ""
    if not splits["train"]:
        raise WmDataError(
            f"nothing is left to train on{why}; check the roles and weights of the sources, that "
            "their prompts differ from the held-out ones, and the audit rules"
        )
    if not splits["test"]:
        raise WmDataError(
            f"no row is left for the test split{why}; give a source the role heldout, or role both "
            "with a larger shares.test"
        )
