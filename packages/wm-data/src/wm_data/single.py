"""Cuts one sampled text at the end of a sentence, whatever its colour. Samples none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import wm_score
from wm_data.audit import text_fault
from wm_data.pairing import NO_END, Answer
from wm_data.question import Prompt
from wm_data.recipe import AuditRules


@dataclass
class Single:
    """A prompt, the answers sampled for it without bias, and the row once one of them is sound."""

    prompt: Prompt
    rules: AuditRules
    turn: int = 0  # how often the prompt was asked before
    answers: list[Answer] = field(default_factory=lambda: [])
    row: dict[str, Any] | None = None
    reason: str = NO_END  # why there is no row

    def wanted(self) -> list[str]:
        """One text more, as long as there is no row."""
        return [] if self.row else ["unmarked"]

    def add(self, name: str, found: Answer) -> None:
        """Take an answer that was wanted."""
        self.answers.append(found)

    def match(self) -> None:
        """Make the row of the last answer, cut as late as it can be, if that is sound."""
        found = self.answers[-1]
        if not found.cuts:
            self.reason = NO_END
            return
        cut = max(found.cuts)
        text = found.text[:cut]
        score = wm_score.score(text)
        self.reason = text_fault(text, score, self.rules)
        if not self.reason:
            self.row = {
                "prompt": self.prompt.text,
                "text": text,
                "subject": self.prompt.subject,
                "red_share": round(score.red_share, 4),
                "blue_share": round(score.blue_share, 4),
                "perplexity": round(found.perplexity(cut), 3),
                "attempt": found.attempt,
            }
