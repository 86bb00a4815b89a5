"""How long a run took between the moments at which it can stop, so that waiting can be foretold."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

Part = Literal["step", "answers", "checkpoint"]


class Pace:
    """Which part of the work is going on, and the longest that each one took."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._since = now()
        self.part: Part | None = None
        self.longest_s: dict[Part, float] = {}

    def begin(self, part: Part | None) -> None:
        """The part that went on has ended; another one begins, or none that counts."""
        ended = self._now()
        if self.part is not None:
            took = ended - self._since
            self.longest_s[self.part] = max(took, self.longest_s.get(self.part, 0.0))
        self.part, self._since = part, ended

    def wait_s(self) -> float | None:
        """Seconds that the running part and a checkpoint take at most, as they did until now.

        None where no such part has ended yet. A checkpoint that was never saved counts nothing.
        """
        if self.part is None or self.part not in self.longest_s:
            return None
        checkpoint = 0.0 if self.part == "checkpoint" else self.longest_s.get("checkpoint", 0.0)
        return self.longest_s[self.part] + checkpoint
