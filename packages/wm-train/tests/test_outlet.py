"""What is printed holds no secret, whoever prints it; a run's path may hold none."""

import errno
import io
import logging
import os
import sys
from collections.abc import Callable

import pytest

from wm_train import cli
from wm_train.outlet import redacted

TOKEN = "hf_" + "Ab1" * 11
VALUE = 'gen"7Q/å-81mm44'
OPTION = "0123456789ab-only-here"


PRINTERS: dict[str, Callable[[str], object]] = {
    "print": print,
    "standard error": lambda text: print(text, file=sys.stderr),
    "lines": lambda text: sys.stderr.writelines([text, "\n"]),
    "a log": lambda text: logging.StreamHandler().emit(
        logging.LogRecord("x", logging.WARNING, "", 1, text, None, None)
    ),
}


@pytest.mark.parametrize("printer", PRINTERS)
def test_what_is_printed_is_redacted(
    printer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTHER_SERVICE_TOKEN", VALUE)
    with redacted():
        PRINTERS[printer](f"with {TOKEN} and {VALUE}")
    assert "with <redacted> and <redacted>" in "".join(capsys.readouterr())


class Broken(io.StringIO):
    """A stream that fails with EIO, as a terminal whose connection broke, or otherwise."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.fault = OSError(number, os.strerror(number))

    def write(self, text: str) -> int:
        raise self.fault


def test_a_terminal_that_is_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Broken(errno.EIO))
    with redacted():
        print("to nobody", file=sys.stderr, flush=True)


def test_any_other_fault_of_a_stream_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(errno.ENOSPC))
    with redacted(), pytest.raises(OSError, match="No space left"):
        print("x", flush=True)


def test_a_traceback_is_redacted_and_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done, redacted():
        raise RuntimeError(f"the server said\nno to {TOKEN}")
    assert done.value.code == 1
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback")
    assert printed.endswith("RuntimeError: the server said\nno to <redacted>\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--name", TOKEN], "a secret in the run's path would be in every log"),
        (["--runs-dir", TOKEN], "a secret in the run's path would be in every log"),
        (["--hub-token", OPTION], "Unknown option"),
        ([f"--hub-token={OPTION}"], "Unknown option"),
    ],
    ids=["name", "runs folder", "option", "option with ="],
)
def test_a_secret_on_the_command_line_is_not_repeated(
    arguments: list[str],
    said: str,
    tmp_path: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["wm-train", "--preset", "demo", *arguments])
    with pytest.raises(SystemExit) as done:
        cli.main()
    printed = "".join(capsys.readouterr())
    assert done.value.code == 2
    assert said in printed
    assert TOKEN not in printed
    assert OPTION not in printed
