"""Finds presets: YAML files of `TrainConfig` fields. Checks their shape, not their values."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import resources
from itertools import takewhile
from pathlib import Path
from typing import Any, cast

import yaml

from wm_train.errors import ConfigError, first_line

DEFAULT = "qwen3-0.6b"  # of a bare `wm-train`
# Fields without a default; of several, one is enough.
REQUIRED = (("model", ("base",)), ("data", ("recipe", "path")), ("optim", ("learning_rate",)))


def names() -> list[str]:
    """Names of the shipped presets.

    >>> "demo" in names()
    True
    """
    folder = resources.files("wm_train") / "presets"
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def description(name: str) -> str:
    """What a shipped preset is for: the comment that it begins with, up to the first full stop.

    >>> description("demo").startswith("A model of 1.4 million random weights")
    True
    """
    text = (resources.files("wm_train") / "presets" / f"{name}.yaml").read_text("utf-8")
    comment = " ".join(line[1:].strip() for line in takewhile(_is_comment, text.splitlines()))
    return comment.split(". ")[0]


def _is_comment(line: str) -> bool:
    return line.startswith("#")


def load(name: str) -> dict[str, Any]:
    """Fields of a preset: a shipped one by its name, or any YAML file by its path."""
    if name in names():
        text = (resources.files("wm_train") / "presets" / f"{name}.yaml").read_text("utf-8")
    elif name.endswith((".yaml", ".yml")):
        try:
            text = Path(name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"preset file {name} cannot be read: {error}") from error
    else:
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(
            f"no preset named {name!r}; {hint}there are: {', '.join(names())}; "
            "a preset of your own is given by its path, ending in .yaml"
        )
    from wm_data import strict_yaml  # the package takes a third of a second to load

    try:
        fields = strict_yaml.load(text)
    except strict_yaml.KeyFault as error:
        raise ConfigError(f"preset {name}: {error.told}") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" line {where.line + 1}, column {where.column + 1}:" if where else ""
        problem = getattr(error, "problem", None) or first_line(error)
        raise ConfigError(f"preset {name}:{line} {problem}; it must be a YAML mapping") from error
    if not isinstance(fields, dict):
        raise ConfigError(
            f"preset {name}: expected a mapping of fields, found {type(fields).__name__}"
        )
    return cast(dict[str, Any], fields)


def without_replaced(fields: dict[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """The preset without what an option stands in for: a dataset's path for a recipe, and back."""
    data = fields.get("data")
    if not isinstance(data, dict):
        return fields
    kept = cast(dict[str, Any], data).copy()
    for given, replaced in (("path", "recipe"), ("recipe", "path")):
        if any(option.partition("=")[0] == f"--data.{given}" for option in options):
            kept.pop(replaced, None)
    return fields | {"data": kept}


def missing(fields: dict[str, Any], options: Sequence[str]) -> list[str]:
    """Fields without a default that neither the preset nor an option gives, a sentence each.

    >>> missing({"model": {"base": "demo"}, "optim": None}, ["--data.recipe=demo"])
    ['optim.learning_rate is missing']
    """
    given = {option.partition("=")[0] for option in options}
    absent: list[str] = []
    for section, names in REQUIRED:
        # A section that is no mapping is another mistake, but an empty one is as if left out.
        there: Any = fields.get(section) or {}
        paths = [f"{section}.{name}" for name in names]
        typed = given & {f"--{path}" for path in (section, *paths)}
        if isinstance(there, dict) and not typed and all(there.get(n) is None for n in names):
            absent.append(f"{' or '.join(paths)} is missing")
    return absent
