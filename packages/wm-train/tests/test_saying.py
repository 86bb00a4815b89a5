"""What is printed for copying can be copied: no markup, no wrapping, quoted for a shell."""

from __future__ import annotations

import shlex
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from wm_train.run_folder import resume_command
from wm_train.saying import say


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("/data/[exp]/[/bold] my runs/x" + 99 * "x", None),
        ("curves at https://wandb.ai/me/wm/runs/1 :smile:", None),
        ("a\x1b[31mb\nc", r"a\x1b[31mb\nc"),
    ],
)
def test_a_line_is_printed_as_it_is(text: str, printed: str | None) -> None:
    out = StringIO()
    say(Console(file=out, width=40), text, "yellow")
    assert out.getvalue() == (printed or text) + "\n"


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("runs/a", "uv run wm-train --resume a"),
        ("other/a", "uv run wm-train --resume a --runs-dir other"),
        ("my [runs]/it's", None),
    ],
)
def test_the_command_that_goes_on_can_be_pasted(folder: str, said: str | None) -> None:
    command = resume_command(Path(folder))
    assert said in (None, command)
    words = shlex.split(command)
    assert words[:5] == ["uv", "run", "wm-train", "--resume", Path(folder).name]
    assert words[6:] == ([] if folder.startswith("runs/") else [str(Path(folder).parent)])
