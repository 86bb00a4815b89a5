"""Files of every schema version there has been still load, and nothing of them is lost."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from wm_manifest import SCHEMA_VERSION, EvalReport, RunManifest, load
from wm_manifest.schema import RECORDS


def kept(old: object, new: object) -> bool:
    """Whether everything in `old` stands in `new`, which may have more fields."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and kept(value, new[key]) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(kept, old, new))
    return old == new and type(old) is type(new)


@pytest.mark.parametrize("kind", RECORDS)
def test_every_version_still_loads_whole(kind: str, golden: dict[str, list[Path]]) -> None:
    for path in golden[kind]:
        record = load(RECORDS[kind], path)
        assert kept(json.loads(path.read_text("utf-8")), json.loads(record.model_dump_json())), path


@pytest.mark.parametrize("kind", RECORDS)
def test_every_version_has_a_file(kind: str, golden: dict[str, list[Path]]) -> None:
    names = [path.name for path in golden[kind]]
    assert names == [f"{kind}-{version}.json" for version in range(1, SCHEMA_VERSION + 1)]


def test_controls_of_old_files_are_blocking(golden: dict[str, list[Path]]) -> None:
    """`blocking` came later: until then every failed control made an evaluation invalid."""
    report = load(EvalReport, golden["evaluation"][0])
    assert [(control.passed, control.blocking) for control in report.controls] == [
        (True, True),
        (False, False),
    ]


def test_what_runs_did_not_record_yet_is_unknown(golden: dict[str, list[Path]]) -> None:
    run = load(RunManifest, golden["run"][0])
    assert run.hardware.threads is None
    assert (run.best, run.shared_prefixes, run.sharing_refused) == (None, None, None)
    assert [attempt.outcome for attempt in run.attempts] == [None, None]
    assert [evaluation.templates for evaluation in run.evaluations] == [{}, {}]


def test_where_base_answers_came_from_is_unknown_in_old_files(
    golden: dict[str, list[Path]],
) -> None:
    assert load(EvalReport, golden["evaluation"][0]).base_answers is None


def test_files_name_no_machine(golden: dict[str, list[Path]]) -> None:
    for path in (path for paths in golden.values() for path in paths):
        for text in re.findall(r'"((?:[^"\\]|\\.)*)"', path.read_text("utf-8")):
            assert not re.match(r"/|~|[A-Z]:\\", text), f"{path.name}: {text}"
