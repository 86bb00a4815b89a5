"""The README's example runs, and its table names every record."""

from __future__ import annotations

import doctest
from pathlib import Path

from wm_manifest.schema import RECORDS

README = Path(__file__).parents[1] / "README.md"


def test_example_runs() -> None:
    result = doctest.testfile(str(README), module_relative=False, encoding="utf-8")
    assert result.attempted >= 5
    assert result.failed == 0


def test_table_names_every_record() -> None:
    text = README.read_text("utf-8")
    for kind, record in RECORDS.items():
        assert f"| `{record.__name__}` | `{kind}` |" in text
