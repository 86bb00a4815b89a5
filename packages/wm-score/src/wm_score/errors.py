"""What a caller can cause to go wrong. One tree; the command line prints it as one line."""

from __future__ import annotations


class WmScoreError(ValueError):
    """Base of every error this package raises for what a caller passed in."""


class UnknownTokenError(WmScoreError):
    """An id that Qwen3's vocabulary does not have."""

    def __init__(self, token_id: object) -> None:
        super().__init__(
            f"token id {token_id!r} is not in the vocabulary; expected 0 to 151668; "
            "check that the ids come from a Qwen3 tokenizer"
        )


class InputError(WmScoreError):
    """A file, row or option that cannot be used."""
