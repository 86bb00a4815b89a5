"""Builds the documents into a site: `uv run --group docs poe docs`. Needs no network."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

project = "wm"
html_title = "wm"
extensions = ["myst_parser"]
myst_heading_anchors = 3
smartquotes = False  # a token in quotes is shown as it is
html_theme = "furo"
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
exclude_patterns = ["_build"]
nitpicky = True


# wm-score parses with argparse, which does not tell its subcommands; the others are asked.
SUBCOMMANDS = {"wm-score": ["calibrate"]}


class Help(SphinxDirective):
    """What a command and its subcommands print for --help, asked of them while the page is built.

    ```{help} wm-data
    ```
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        script = self.arguments[0]
        found: list[nodes.Node] = [_help(script)]
        for name in subcommands(script):
            title = nodes.literal(text=f"{script} {name}")
            found += [nodes.rubric("", "", title), _help(script, name)]
        return found


def subcommands(script: str) -> list[str]:
    """The names of a command's subcommands, sorted."""
    if script in SUBCOMMANDS:
        return SUBCOMMANDS[script]
    app = importlib.import_module(f"{script.replace('-', '_')}.cli").app
    return sorted(name for name in app if not name.startswith("-"))


def _help(script: str, *rest: str) -> nodes.literal_block:
    done = subprocess.run(
        [str(Path(sys.executable).parent / script), *rest, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "88", "NO_COLOR": "1", "TERM": "dumb"},
    )
    text = "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())
    return nodes.literal_block(text, text, language="text")


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("help", Help)
    return {"parallel_read_safe": True}
