"""The command as a process of its own: what it does when an output or an input is not to be had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import wm_score

SOURCE = str(Path(wm_score.__file__).parent.parent)
FULL = Path("/dev/full")
ROWS = '{"text": "The committee approved its plan."}\n' * 20_000  # more than any pipe holds


def shell(script: str, *files: object) -> subprocess.CompletedProcess[str]:
    """Runs `script` in a shell in which `wm` is the command; standard output is buffered."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    env |= {"PYTHONPATH": SOURCE}
    begin = f'wm() {{ "{sys.executable}" -m wm_score "$@"; }}; '
    return subprocess.run(
        ["bash", "-c", begin + script, "bash", *map(str, files)],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(ROWS, encoding="ascii")
    return path


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("The committee approved its plan for the winter.\n", encoding="ascii")
    return path


FORMS = {
    "table": "",
    "json": "--json",
    "windows": "--windows",
    "ansi": "--tokens ansi",
    "html": "--tokens html",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_reader_that_is_gone_is_no_error(text, form):
    ran = shell(f'wm {form} "$1" | true; echo "${{PIPESTATUS[0]}}"', text)
    assert (ran.stdout, ran.stderr) == ("0\n", "")


def test_a_reader_that_leaves_in_the_middle_is_no_error(rows):
    ran = shell('wm --jsonl text "$1" | head -n 1 >&2; echo "${PIPESTATUS[0]}"', rows)
    assert ran.stdout == "0\n"
    assert ran.stderr.count("\n") == 1
    assert json.loads(ran.stderr)["wm_score"]["codebook"] == "v1"


@pytest.mark.skipif(not FULL.exists(), reason="writes to /dev/full")
@pytest.mark.parametrize("arguments", [*FORMS.values(), "--help", "--fail-on any"])
def test_a_full_disk_is_one_line_and_exit_2(text, arguments):
    ran = shell(f'wm {arguments} "$1" > /dev/full', text)
    assert ran.returncode == 2
    assert ran.stderr == (
        "error: standard output: No space left on device; expected room to write\n"
    )


@pytest.mark.skipif(not FULL.exists(), reason="writes to /dev/full")
def test_a_full_disk_under_rows_is_one_line_and_exit_2(rows):
    ran = shell('wm --jsonl text "$1" > /dev/full', rows)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)


@pytest.mark.skipif(not FULL.exists(), reason="writes to /dev/full")
def test_a_full_standard_error_changes_no_exit_status(text):
    assert shell('wm "$1" nowhere 2> /dev/full', text).returncode == 2
    assert shell('wm --min-counted 999 "$1" 2> /dev/full', text).returncode == 0


@pytest.mark.parametrize("arguments", ["", "--json -", "--jsonl text"])
def test_a_closed_standard_input_is_one_line_and_exit_2(arguments):
    ran = shell(f"wm {arguments} <&-")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "error: standard input is closed; name a file, or give it text\n"


def test_a_closed_standard_output_is_one_line_and_exit_2(text):
    ran = shell('wm --json "$1" >&-', text)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "standard output is closed" in ran.stderr


def test_a_closed_standard_error_leaves_standard_output_alone(text):
    ran = shell('wm --json --min-counted 999 "$1" 2>&-', text)
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["verdict"] == "abstained"


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="reads /proc")
@pytest.mark.parametrize("arguments", ["--json", "--jsonl text"])
def test_a_file_that_breaks_off_is_one_line_and_exit_2(arguments):
    """That file opens, and its first byte cannot be read."""
    ran = shell(f"wm {arguments} /proc/self/mem")
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert "/proc/self/mem: " in ran.stderr
