"""The schema files say what the records say."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from wm_manifest import Record
from wm_manifest.schema import RECORDS, schemas, texts

MEND = "run `python -m wm_manifest.schema` and commit what it writes"


def shipped() -> dict[str, str]:
    folder = resources.files("wm_manifest") / "schemas"
    return {file.name: file.read_text("utf-8") for file in folder.iterdir()}


def test_files_are_those_of_the_records() -> None:
    assert sorted(shipped()) == sorted(texts()), MEND


@pytest.mark.parametrize("kind", RECORDS)
def test_file_has_not_drifted_from_its_record(kind: str) -> None:
    assert shipped()[f"{kind}.schema.json"] == texts()[f"{kind}.schema.json"], MEND


def test_command_writes_the_files(tmp_path: Path) -> None:
    """And warns of nothing: a warning is an error here."""
    command = [sys.executable, "-W", "error", "-m", "wm_manifest.schema", str(tmp_path / "new")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    written = {path.name: path.read_text("utf-8") for path in (tmp_path / "new").iterdir()}
    assert written == texts()
    assert done.stdout.splitlines() == [str(tmp_path / "new" / name) for name in texts()]


@pytest.mark.parametrize("kind", RECORDS)
def test_schema_is_strict_and_names_its_kind(kind: str) -> None:
    schema = schemas()[kind]
    assert schema["properties"]["kind"]["const"] == kind
    assert schema["additionalProperties"] is False
    assert {"kind", "schema_version"} <= set(schema["required"])
    assert len(set(schema["required"])) == len(schema["required"])
    for part in schema["$defs"].values():
        assert part["additionalProperties"] is False


def test_schema_allows_the_names_of_nan_for_figures() -> None:
    value = schemas()["evaluation"]["$defs"]["Estimate"]["properties"]["value"]
    assert '"NaN"' in json.dumps(value)
    assert {"type": "null"} in value["anyOf"]


def test_every_record_with_a_kind_has_a_schema() -> None:
    def below(record: type[Record]) -> set[type[Record]]:
        return {record}.union(*(below(sub) for sub in record.__subclasses__()))

    ours = {r for r in below(Record) if r.__module__.startswith("wm_manifest.")}
    assert {r for r in ours if "schema_version" in r.model_fields} == set(RECORDS.values())
