"""Seed rows, unmarked texts and their identities. Knows nothing of sources, colours or splits."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass, field

SPACES = re.compile(r"\s+")
ID_LENGTH = 16  # hex digits: 64 bits, a collision among 120,000 rows has odds of 4e-10


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt and its two answers. `place` says where it was read, without local folders.

    `subject`, where a source names one, is what the prompt is about: rows of one subject never
    stand in two splits. `fault` is why a record that could not be read as a row is dropped.
    """

    source: str
    prompt: str
    red_answer: str
    blue_answer: str
    place: str = field(default="", compare=False)
    subject: str = field(default="", compare=False)
    fault: str = field(default="", compare=False)

    @property
    def row_id(self) -> str:
        """Hash of the content: the same row from two sources has the same id."""
        return digest(json.dumps([self.prompt, self.red_answer, self.blue_answer]))[:ID_LENGTH]

    @property
    def group(self) -> str:
        """Hash of the normalised prompt: rows of one group never stand in two splits."""
        return digest(normalise(self.prompt))[:ID_LENGTH]

    @property
    def split_key(self) -> str:
        """The hash that decides the split: the subject's if there is one, else the group."""
        if self.subject:
            return digest(f"subject\n{normalise(self.subject)}")[:ID_LENGTH]
        return self.group


@dataclass(frozen=True, slots=True)
class Text:
    """A text that nobody marked, and the prompt that it answers where there is one.

    `fault` is that of a row: a text whose prompt is known to be unreadable is not one without.
    """

    source: str
    text: str
    prompt: str = ""
    place: str = field(default="", compare=False)
    fault: str = field(default="", compare=False)

    @property
    def text_id(self) -> str:
        """Hash of the content."""
        return digest(json.dumps([self.prompt, self.text]))[:ID_LENGTH]

    @property
    def group(self) -> str:
        """That of a row with the same prompt; of a text without one, its own."""
        return digest(normalise(self.prompt or self.text))[:ID_LENGTH]


def normalise(prompt: str) -> str:
    """The prompt as far as it counts for telling prompts apart: NFKC, casefold, single spaces.

    >>> normalise("  What is\\n LAW?")
    'what is law?'
    """
    return SPACES.sub(" ", unicodedata.normalize("NFKC", prompt).casefold()).strip()


def has_surrogate(text: str) -> bool:
    r"""Whether a text holds half a surrogate pair, which JSON can and no text file.

    >>> has_surrogate("\ud83d"), has_surrogate("😀")
    (True, False)
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def digest(text: str) -> str:
    """SHA-256 as hex. Lone surrogates, which JSON files can hold, are hashed as they are."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
