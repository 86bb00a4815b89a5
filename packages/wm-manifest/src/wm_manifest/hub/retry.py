"""Tries again what may go right the next time. Waits longer each time, or as the hub asks."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

from wm_manifest.hub.errors import HubUnreachable, causes, first_line, may_pass, named

R = TypeVar("R")

ATTEMPTS = 6
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
LONGEST_ASKED_S = 600.0
# hf_xet tries again by itself, for up to five minutes when nothing answers: once is enough.
XET = "; if Xet storage is blocked here, HF_HUB_DISABLE_XET=1 uploads without it"


def with_retries(action: Callable[[], R], sleep: Callable[[float], None] = time.sleep) -> R:
    """Run `action` until it succeeds, waiting longer each time, or as long as the hub asks for.

    `action` must be safe to repeat even when it did its work and only the answer was lost. Raises
    `HubUnreachable` when attempts run out, or Xet's own have; any error that would come again comes
    at once.
    """
    wait_s = FIRST_WAIT_S
    for left in reversed(range(ATTEMPTS)):
        try:
            return action()
        except Exception as error:
            if not may_pass(error):
                raise
            if left == 0 or _is_offline(error) or _is_xet(error):
                raise HubUnreachable(_short(error)) from error
            asked_s = retry_after(error)
            # Jitter, so that two publishers that collided do not collide again.
            jittered_s = wait_s * (1 + random.random() / 4)
            sleep(asked_s if asked_s is not None else jittered_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
    raise AssertionError("the last attempt returns or raises")


def retry_after(error: BaseException) -> float | None:
    """Seconds that the hub asked to wait, at most ten minutes; None when it did not ask."""
    from huggingface_hub.errors import HfHubHTTPError

    for cause in causes(error):
        if isinstance(cause, HfHubHTTPError):
            headers = cause.response.headers
            return seconds_asked(headers.get("retry-after", ""), headers.get("date", ""))
    return None


def seconds_asked(asked: str, date: str = "") -> float | None:
    """What a `Retry-After` header says: a number, or a date, counted from the answer's own `Date`.

    RFC 9110, 10.2.3. At most ten minutes; None for anything else.

    >>> seconds_asked("37"), seconds_asked("86400"), seconds_asked("soon"), seconds_asked("²")
    (37.0, 600.0, None, None)
    >>> seconds_asked("Sat, 31 Jan 2026 10:00:42 GMT", "Sat, 31 Jan 2026 10:00:00 GMT")
    42.0
    """
    if asked.isascii() and asked.isdigit():
        return min(float(asked), LONGEST_ASKED_S)
    try:
        # Its own clock: this machine's may be wrong by more than the wait.
        now = parsedate_to_datetime(date).timestamp() if date else time.time()
        wait_s = parsedate_to_datetime(asked).timestamp() - now
    except ValueError:
        return None
    return min(max(wait_s, 0.0), LONGEST_ASKED_S)


def _is_xet(error: BaseException) -> bool:
    """Whether Xet gave up: it raises Python's own error, which the client never does by itself."""
    return any(type(cause) is ConnectionError for cause in causes(error))


def _is_offline(error: BaseException) -> bool:
    from huggingface_hub.errors import OfflineModeIsEnabled

    return any(isinstance(cause, OfflineModeIsEnabled) for cause in causes(error))


def _short(error: BaseException) -> str:
    text = named(error, first_line(error))
    return text + XET if _is_xet(error) else text
