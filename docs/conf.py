"""Builds the documents into a site: `uv run --group docs poe docs`. Needs no network."""

from __future__ import annotations

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


class Help(SphinxDirective):
    """What a command prints for --help, asked of the command itself while the page is built.

    ```{help} wm-data build
    ```
    """

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        name, *rest = self.arguments[0].split()
        script = Path(sys.executable).parent / name
        done = subprocess.run(
            [str(script), *rest, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"COLUMNS": "88", "NO_COLOR": "1", "TERM": "dumb"},
        )
        lines = [line.rstrip() for line in done.stdout.splitlines()]
        text = "\n".join(lines).strip("\n")
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("help", Help)
    return {"parallel_read_safe": True}
