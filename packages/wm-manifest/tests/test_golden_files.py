"""Files of every schema version there has been still load, and nothing of them is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import pytest

from wm_manifest import SCHEMA_VERSION, DatasetManifest, EvalReport, Record, RunManifest, load, save
from wm_manifest.schema import RECORDS, schemas
from wm_manifest.store import IDENTITY


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


# ------------------------------------------------------------------------------------- every field


def records_in(value: object) -> Iterator[Record]:
    """The record itself, or those in a list or a dict."""
    if isinstance(value, Record):
        yield value
    elif isinstance(value, list | dict):
        inner = cast("dict[str, object]", value).values() if isinstance(value, dict) else value
        for part in cast("Iterable[object]", inner):
            yield from records_in(part)


def set_fields(record: Record) -> Iterator[tuple[str, str]]:
    """Record and name of each field here and farther in whose value is not what it has without."""
    for name, field in type(record).model_fields.items():
        value = getattr(record, name)
        if value is not None and value != field.get_default(call_default_factory=True):
            yield type(record).__name__, name
        for part in records_in(value):
            yield from set_fields(part)


def test_full_files_have_a_value_in_every_field(full: dict[str, Path]) -> None:
    """A field that is renamed, or of another type, then fails to load here: old files have it.

    When you add one, add it to the full file of its kind, with another value than the default.
    """
    found = {pair for kind, path in full.items() for pair in set_fields(load(RECORDS[kind], path))}
    parts = {name: part for schema in schemas().values() for name, part in schema["$defs"].items()}
    whole = {RECORDS[kind].__name__: schema for kind, schema in schemas().items()}
    every = {(name, field) for name, p in (parts | whole).items() for field in p["properties"]}
    assert len(every) > 150
    assert every - found == {(name, field) for name in whole for field in IDENTITY}


@pytest.mark.parametrize("kind", RECORDS)
def test_full_file_is_what_saving_it_writes(
    kind: str, full: dict[str, Path], tmp_path: Path
) -> None:
    save(load(RECORDS[kind], full[kind]), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == full[kind].read_bytes()


# ------------------------------------------------------------------------------- fields of later on


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
    assert [attempt.stack for attempt in run.attempts] == [None, None]
    assert run.base_weights_sha256 is None
    assert run.decoding is not None
    assert run.decoding.detect == "sampled"
    assert run.dataset is not None
    assert (run.dataset.limit, run.dataset.on_bad_row) == (None, "error")


def test_where_base_answers_came_from_is_unknown_in_old_files(
    golden: dict[str, list[Path]],
) -> None:
    report = load(EvalReport, golden["evaluation"][0])
    assert (report.base, report.base_answers, report.precision) == (None, None, None)


def test_old_datasets_have_no_bands(golden: dict[str, list[Path]]) -> None:
    dataset = load(DatasetManifest, golden["dataset"][0])
    assert (dataset.bands, dataset.unmarked, dataset.on_bad_row) == ({}, None, "error")


def test_files_name_no_machine(golden: dict[str, list[Path]], full: dict[str, Path]) -> None:
    for path in [*(path for paths in golden.values() for path in paths), *full.values()]:
        for text in re.findall(r'"((?:[^"\\]|\\.)*)"', path.read_text("utf-8")):
            assert not re.match(r"/|~|[A-Z]:\\", text), f"{path.name}: {text}"
