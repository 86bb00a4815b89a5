"""Prints lines for a person as they are: a path may look like markup. Decides nothing to say."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from wm_publish.markup import one_line


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print one line, unwrapped, so that it can be copied.

    A manifest may be a stranger's: what would steer a terminal is shown as an escape.
    """
    shown = Text(one_line(text), style or "")  # not a str: that is read as markup, and emoji
    console.print(shown, highlight=False, soft_wrap=True)
