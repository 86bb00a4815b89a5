"""Which errors of the hub's client may pass, and which would come again. Waits for nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TypeVar

R = TypeVar("R")

# 409 and 412: someone else was faster; the next attempt reads the repository's state anew.
PASSING = {408, 409, 412, 425, 429, 500, 502, 503, 504}


class HubUnreachable(Exception):  # noqa: N818 - a state, and not the user's error
    """The hub could not be reached, or kept failing, in all attempts; or there is no token."""


class HubRefused(Exception):  # noqa: N818 - what the hub did
    """An answer that would come again: no such user, no right to write, a file that is gone."""


def answered(action: Callable[[], R]) -> R:
    """`action()`, with an error that would come again as `HubRefused`, one line for a user.

    An error that may pass comes through as it is, for `with_retries`.
    """
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return action()
    except HfHubHTTPError as error:
        if may_pass(error):
            raise
        said = _one_line(error.server_message or "") or first_line(error) or "no reason given"
        raise HubRefused(
            f"the hub refused with status {error.response.status_code}: {said}; "
            "check the repository's name and that the token may write to it"
        ) from error
    except (ValueError, RuntimeError, OSError) as error:
        if may_pass(error):
            raise
        text, cause = _one_line(str(error)), error.__cause__ or error
        kind = named(cause, _one_line(str(cause)))
        raise HubRefused(f"the upload failed: {f'{text} ({kind})' if text else kind}") from error


def may_pass(error: BaseException) -> bool:
    """Whether the error, or one that caused it, is a network fault or a passing answer."""
    from huggingface_hub.errors import HfHubHTTPError

    # The hub's client builds on one of two HTTP libraries, by version; the base of its own error is
    # the base of every error of the one in use.
    http_error = HfHubHTTPError.__mro__[1]
    for cause in causes(error):
        if isinstance(cause, HfHubHTTPError):
            return cause.response.status_code in PASSING
        if isinstance(cause, (http_error, ConnectionError, TimeoutError, json.JSONDecodeError)):
            return True
    return False


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, the nearest first; not what `raise ... from` set aside."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def first_line(error: BaseException) -> str:
    """The first line of an error's text; nothing where it has none, or white space alone."""
    return next(iter(str(error).strip().splitlines()), "")


def named(error: BaseException, text: str) -> str:
    """The error's kind and `text`, or its kind alone where there is no text."""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _one_line(text: str) -> str:
    return " ".join(text.split())
