"""What a user of wm-train can get wrong. Every one ends as one line and its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cyclopts


class WmTrainError(Exception):
    """Base of this package's errors; the text says what came, what was expected, what to do."""

    exit_code = 2


class ConfigError(WmTrainError):
    """A preset or an option that cannot be used."""


class DataError(WmTrainError):
    """A dataset that cannot be trained on."""


class CheckpointError(WmTrainError):
    """A checkpoint that cannot be saved, or none that a run can go on from."""


class ResumeError(WmTrainError):
    """A run that cannot be gone on with as asked."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none.

    >>> first_line(OSError("disk full\\nand more")), first_line(NotImplementedError())
    ('disk full', 'NotImplementedError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def fields_at_fault(error: cyclopts.ValidationError) -> str:
    """Pydantic's findings, a line each: the option's name, what was wrong, what came."""
    import pydantic

    cause = error.__cause__
    if not isinstance(cause, pydantic.ValidationError):
        return str(error)
    lines = [
        (f"--{'.'.join(map(str, found['loc']))}: " if found["loc"] else "")
        + found["msg"].removeprefix("Value error, ")
        + ("" if isinstance(found["input"], dict) else f" (found {found['input']!r})")
        for found in cause.errors()
    ]
    return "; ".join(lines)
