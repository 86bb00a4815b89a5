"""Prints, as JSON, the packages that a change touches: themselves and all that depend on them.

    git diff --name-only origin/main... | python .ci/affected.py

A change outside every package (lock file, root configuration, CI) touches all, and so does one of
what all packages' tests share.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARED = "packages/wm-publish/tests/hub_server.py"  # the hub of every package's tests
NO_PACKAGE = ("docs/", "benchmarks/", "README.md", "CONTRIBUTING.md", "LICENSE", "tests/")


def homes() -> dict[str, str]:
    """Each distribution's folder, with `/` at its end."""
    found = {path.parent.name: path.parent for path in ROOT.glob("packages/*/pyproject.toml")}
    found["wm-prompts"] = ROOT / "prompts"
    return {name: home.relative_to(ROOT).as_posix() + "/" for name, home in sorted(found.items())}


def needs(home: str) -> set[str]:
    """Packages of ours that a package declares, with and without extras."""
    project = tomllib.loads((ROOT / home / "pyproject.toml").read_text("utf-8"))["project"]
    lists = [project.get("dependencies", []), *project.get("optional-dependencies", {}).values()]
    names = (re.split(r"[\s\[<>=!~;]", d, maxsplit=1)[0] for group in lists for d in group)
    return {name for name in names if name.startswith("wm-")}


def affected(changed: Iterable[str]) -> list[str]:
    """Packages to test after `changed` files, sorted."""
    places = homes()
    touched: set[str] = set()
    for path in changed:
        owners = {name for name, home in places.items() if path.startswith(home)}
        if path == SHARED or (not owners and not path.startswith(NO_PACKAGE)):
            return list(places)
        touched |= owners
    arrows = {name: needs(home) for name, home in places.items()}
    while more := {name for name, used in arrows.items() if used & touched} - touched:
        touched |= more
    return sorted(touched)


if __name__ == "__main__":
    print(json.dumps(affected(line.strip() for line in sys.stdin if line.strip())))
