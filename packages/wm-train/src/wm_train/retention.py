"""Which checkpoints stay on the disk. Writes none; knows nothing of what is in one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wm_train.checkpoints import SLACK, found, step_of, total
from wm_train.errors import CheckpointError


def _none() -> int | None:
    return None


def human(size: float) -> str:
    """Bytes for people, rounded up: who sets a budget to it has enough.

    >>> human(2_345_678_901)
    '2.35GB'
    """
    unit = next(u for u in (10**9, 10**6, 10**3, 1) if size >= u or u == 1)
    hundredths = -(-size * 100 // unit)
    return f"{hundredths / 100:g}{ {10**9: 'GB', 10**6: 'MB', 10**3: 'kB', 1: 'B'}[unit] }"


@dataclass(frozen=True)
class Retention:
    """The newest `keep` checkpoints and the best one, within `max_bytes` at every moment.

    The budget counts the checkpoint that is being written. The newest whole one and the best one
    are never removed for it: a crash while writing must leave one to go on from.
    """

    keep: int | None = None
    max_bytes: int | None = None
    best: Callable[[], int | None] = _none  # step of the best checkpoint
    has_best: bool = False  # whether there will be one

    def make_room(self, root: Path, needed: int) -> None:
        """Remove the oldest until `needed` bytes fit; `CheckpointError` when they cannot."""
        if self.max_bytes is None:
            return
        folders = found(root)
        best = self.best()
        loose = [folder for folder in folders[:-1] if step_of(folder) != best]
        while loose and total(root) + needed > self.max_bytes:
            shutil.rmtree(loose.pop(0))
        if total(root) + needed > self.max_bytes:
            self._refuse(needed)

    def check(self, size: int) -> None:
        """`CheckpointError` when checkpoints of `size` bytes cannot go on within the budget."""
        if self.max_bytes is not None and self.at_once * size > self.max_bytes:
            self._refuse(size)

    @property
    def at_once(self) -> int:
        """Checkpoints that the budget has to hold: the newest, the one being written, the best."""
        return 3 if self.has_best else 2

    def _refuse(self, size: int) -> None:
        assert self.max_bytes is not None
        best = "the best and " if self.has_best else ""
        raise CheckpointError(
            f"checkpoint.max_bytes = {human(self.max_bytes)} is too little: a checkpoint has "
            f"{human(size)}, and {best}the newest stay while the next one is written; give at "
            f"least {human(1.02 * self.at_once * (size + SLACK))} and resume the run"
        )

    def prune(self, root: Path) -> None:
        """Remove all but the newest `keep` and the best."""
        for folder in found(root)[: -self.keep] if self.keep else []:
            if step_of(folder) != self.best():
                shutil.rmtree(folder)
