"""What a user can cause and this package reports. Every message says what came and what to do."""

from __future__ import annotations


class WmDataError(Exception):
    """A recipe, source or dataset folder that cannot be used as it is."""
