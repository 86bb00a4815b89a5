"""Puts rows into train, validation and test by prompt group or subject. Looks at no answer.

A row's split follows from the hash of its group, or of its subject if it has one, its source's role
and the shares: another source, a seed or a limit never moves it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from wm_data.audit import Measured
from wm_data.errors import WmDataError
from wm_data.recipe import Role, Shares

SPLITS = ("train", "validation", "test")


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


def split(
    measured: Iterable[Measured], roles: dict[str, Role], shares: Shares
) -> tuple[dict[str, list[Measured]], list[Measured]]:
    """Rows by split, and those dropped since their prompt is held out elsewhere too."""
    splits: dict[str, list[Measured]] = {name: [] for name in SPLITS}
    for item in measured:
        splits[split_of(item.row.split_key, roles[item.row.source], shares)].append(item)
    taken = {item.group for item in splits["test"]}
    lost: list[Measured] = []
    for name in ("validation", "train"):
        lost += [
            replace(item, reason="held-out prompt") for item in splits[name] if item.group in taken
        ]
        splits[name] = [item for item in splits[name] if item.group not in taken]
        taken |= {item.group for item in splits[name]}
    if not splits["train"]:
        raise WmDataError(
            "nothing is left to train on: every row is held out, was dropped, or shares its prompt "
            "with a held-out row; check the roles of the sources and the audit rules"
        )
    if not splits["test"]:
        raise WmDataError(
            "no row is left for the test split; give a source the role heldout, or role both with "
            "a larger shares.test"
        )
    return splits, lost
