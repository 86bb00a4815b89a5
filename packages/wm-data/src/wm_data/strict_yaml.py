"""Reads YAML mappings of fields. Refuses keys that YAML takes: given twice, or not a text."""

from __future__ import annotations

from typing import Any, cast

import yaml

_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


class KeyFault(yaml.MarkedYAMLError):
    """A key that YAML takes and a mapping of fields does not; `problem` says what to do."""

    @property
    def told(self) -> str:
        """Where it is, and what is wrong with it."""
        mark = cast("yaml.Mark", self.problem_mark)
        return f"line {mark.line + 1}, column {mark.column + 1}: {self.problem}"


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The mapping, once its keys are known to be texts of which none stands twice."""
        # Here and not where values are made: by then merged mappings have put their keys in.
        node: Any = super().compose_mapping_node(anchor)
        first: dict[str, int] = {}  # key -> line
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            if key.tag != _TEXT:
                shown = str(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                problem = f"expected a field's name, found {shown}; a name is a text"
                raise KeyFault(problem=problem, problem_mark=key.start_mark)
            line = key.start_mark.line + 1
            if key.value in first:
                problem = (
                    f"{key.value!r} stands here a second time, first on line {first[key.value]}; "
                    "put what belongs to it together"
                )
                raise KeyFault(problem=problem, problem_mark=key.start_mark)
            first[key.value] = line
        return node


def load(text: str) -> Any:
    """What `text` holds. Raises `yaml.YAMLError`, of which `KeyFault` is one.

    >>> load("optim: {steps: 5}")
    {'optim': {'steps': 5}}
    """
    try:
        return yaml.load(text, _Loader)
    except ValueError as error:  # such as of 2020-13-45, which looks like a date
        raise yaml.YAMLError(str(error)) from error
    except RecursionError:
        raise yaml.YAMLError("nested too deep") from None
