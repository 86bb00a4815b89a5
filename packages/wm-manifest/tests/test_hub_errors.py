"""What of the hub's errors is tried again, and what a user reads of them: always one line."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from wm_manifest.hub import HubRefused, HubUnreachable, answered, with_retries

errors = pytest.importorskip("huggingface_hub.errors", reason="needs the extra wm-manifest[hub]")


def http(text: str, status: int = 403, said: str | None = None) -> Exception:
    response: Any = SimpleNamespace(status_code=status, headers={}, request=None)
    return errors.HfHubHTTPError(text, response=response, server_message=said)


def raising(error: Exception) -> Callable[[], NoReturn]:
    def action() -> NoReturn:
        raise error

    return action


REFUSED = {
    "a status with a reason": (http("no such user\nRequest ID: 1"), "status 403: no such user; "),
    "the server's own words": (http("x", said="first\nsecond"), "status 403: first second; "),
    "a status and no word": (http(""), "status 403: no reason given; "),
    "a status and white space": (http(" \n "), "status 403: no reason given; "),
    "two lines": (OSError("a\nb"), "the upload failed: a b (OSError: a b)"),
    "line ends of other kinds": (ValueError("a\r\nb\u2028c"), "failed: a b c (ValueError: a b c)"),
    "no word": (OSError(), "the upload failed: OSError"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_is_one_line(name: str) -> None:
    error, said = REFUSED[name]
    with pytest.raises(HubRefused) as caught:
        answered(raising(error))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


UNREACHABLE = {
    "a reason": (TimeoutError("took too long\nfor me"), "TimeoutError: took too long"),
    "no word": (TimeoutError(), "TimeoutError"),
    "white space": (TimeoutError(" \n"), "TimeoutError"),
    "white space of Xet": (ConnectionError(" "), "ConnectionError; if Xet storage is blocked"),
    "a status and no word": (http("", 503), "HfHubHTTPError"),
}


@pytest.mark.parametrize("name", UNREACHABLE)
def test_hub_that_cannot_be_reached_is_one_line(name: str) -> None:
    error, said = UNREACHABLE[name]
    waits: list[float] = []
    with pytest.raises(HubUnreachable) as caught:
        with_retries(raising(error), waits.append)
    assert str(caught.value).startswith(said)
    assert len(str(caught.value).splitlines()) == 1
    assert len(waits) == (0 if isinstance(error, ConnectionError) else 5)


def from_none() -> NoReturn:
    try:
        raise TimeoutError("slow")
    except TimeoutError:
        raise ValueError("an answer that would come again") from None


def while_handling() -> NoReturn:
    try:
        raise TimeoutError("slow")
    except TimeoutError:
        raise ValueError("no answer")  # noqa: B904  Python notes the first one by itself


def by_cause() -> NoReturn:
    try:
        raise TimeoutError("slow")
    except TimeoutError as error:
        raise ValueError("no answer") from error


def of_another_cause() -> NoReturn:
    try:
        raise TimeoutError("slow")
    except TimeoutError:
        raise ValueError("a name that is taken") from KeyError("name")


@pytest.mark.parametrize(
    ("action", "times"), [(from_none, 1), (while_handling, 6), (by_cause, 6), (of_another_cause, 1)]
)
def test_error_that_came_of_a_timeout_is_tried_again_unless_it_says_otherwise(
    action: Callable[[], NoReturn], times: int
) -> None:
    calls: list[int] = []

    def counted() -> NoReturn:
        calls.append(1)
        action()

    with pytest.raises(ValueError if times == 1 else HubUnreachable):
        with_retries(counted, lambda seconds: None)
    assert len(calls) == times
