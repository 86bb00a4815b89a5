"""A file that is no manifest of the kind wanted: one line with its path and the field at fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wm_manifest import (
    DatasetManifest,
    EvalReport,
    ManifestError,
    ReleaseManifest,
    RunManifest,
    load,
)
from wm_manifest.schema import RECORDS

KINDS = list(RECORDS)


def content(golden: dict[str, list[Path]], kind: str) -> dict[str, Any]:
    return json.loads(golden[kind][0].read_text("utf-8"))


def refused(kind: str, path: Path) -> str:
    """The error's text, once it is one line that begins with the path."""
    with pytest.raises(ManifestError) as caught:
        load(RECORDS[kind], path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_every_kind_refuses_every_other(
    kind: str, other: str, golden: dict[str, list[Path]]
) -> None:
    if kind == other:
        assert load(RECORDS[kind], golden[other][0])
    else:
        message = refused(kind, golden[other][0])
        assert message.startswith(f"kind: Input should be '{kind}', found '{other}'")


def test_another_schema_version_is_named(golden: dict[str, list[Path]], tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    for kind in KINDS:
        path.write_text(json.dumps(content(golden, kind) | {"schema_version": 2}), "utf-8")
        message = refused(kind, path)
        assert message.startswith("schema_version: Input should be 1, found 2")
        assert "another version of wm" in message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("field", ["kind", "schema_version"])
def test_file_has_to_say_what_it_is(
    kind: str, field: str, golden: dict[str, list[Path]], tmp_path: Path
) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({k: v for k, v in content(golden, kind).items() if k != field}))
    assert refused(kind, path).startswith(f"{field}: missing")


BAD_FIELDS = [
    # kind, path into the content, value, field as named, fault as named
    ("dataset", ["sead"], 0, "sead", "Extra inputs are not permitted, found 0"),
    ("dataset", ["splits", "train", "row"], 1, "splits.train.row", "Extra inputs"),
    ("run", ["a\nb\u2028c"], 1, "a b c", "Extra inputs"),
    ("dataset", ["seed"], "seven", "seed", "valid integer, found 'seven'"),
    ("dataset", ["seed"], "7", "seed", "valid integer, found '7'"),
    ("dataset", ["seed"], 7.0, "seed", "valid integer, found 7.0"),
    ("dataset", ["seed"], True, "seed", "valid integer, found True"),
    ("dataset", ["seed"], None, "seed", "valid integer, found None"),
    ("dataset", ["files", 1, "sha256"], "ABC", "files.1.sha256", "found 'ABC'"),
    ("dataset", ["files", 1, "bytes"], -1, "files.1.bytes", "greater than or equal to 0, found -1"),
    ("dataset", ["sources", 0, "kind"], "ftp", "sources.0.kind", "found 'ftp'"),
    ("dataset", ["splits"], [], "splits", "should be an object"),
    ("run", ["status"], "done", "status", "found 'done'"),
    ("run", ["config"], "x" * 500, "config", "found 'xxxx"),
    ("run", ["hardware", "memory_gib"], "NaN", "hardware.memory_gib", "valid number, found 'NaN'"),
    ("evaluation", ["valid"], "yes", "valid", "valid boolean, found 'yes'"),
    ("evaluation", ["valid"], 1, "valid", "valid boolean, found 1"),
    (
        "evaluation",
        ["figures", "detect/accuracy", "value"],
        "0.5",
        "figures.detect/accuracy.value",
        "valid number, found '0.5'",
    ),
    (
        "evaluation",
        ["figures", "detect/accuracy", "value"],
        "nan",
        "figures.detect/accuracy.value",
        "valid number, found 'nan'",
    ),
    (
        "evaluation",
        ["samples", 0, "pieces", 0, "colour"],
        "green",
        "samples.0.pieces.0.colour",
        "'green'",
    ),
    ("evaluation", ["controls", 0, "blocking"], None, "controls.0.blocking", "valid boolean"),
    ("release", ["private"], "false", "private", "valid boolean, found 'false'"),
    ("release", ["files"], {}, "files", "valid array"),
]


@pytest.mark.parametrize(
    ("kind", "keys", "value", "where", "fault"),
    BAD_FIELDS,
    ids=[str(n) for n in range(len(BAD_FIELDS))],
)
def test_field_at_fault_is_named(
    kind: str,
    keys: list[Any],
    value: object,
    where: str,
    fault: str,
    golden: dict[str, list[Path]],
    tmp_path: Path,
) -> None:
    whole = content(golden, kind)
    inner: Any = whole
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(whole), "utf-8")
    message = refused(kind, path)
    assert message.startswith(f"{where}: ")
    assert fault in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (kind, field)
        for kind, r in RECORDS.items()
        for field, f in r.model_fields.items()
        if f.is_required()
    ],
)
def test_missing_field_is_named(
    kind: str, field: str, golden: dict[str, list[Path]], tmp_path: Path
) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({k: v for k, v in content(golden, kind).items() if k != field}))
    assert refused(kind, path).startswith(f"{field}: Field required (expected a ")


BAD_FILES = {
    "empty": (b"", "Invalid JSON"),
    "white space": (b" \n", "Invalid JSON"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00\x00", "cannot be read"),
    "zeros": (b"\x00" * 64, "Invalid JSON"),
    "utf-16": ('{"kind": "run"}'.encode("utf-16"), "cannot be read"),
    "byte order mark": (b'\xef\xbb\xbf{"kind": "run"}', "Invalid JSON"),
    "half a surrogate": (b'{"kind": "\\ud800"}', "Invalid JSON"),
    "a list": (b"[1, 2]", "should be an object"),
    "a text": (b'"run"', "should be an object"),
    "null": (b"null", "should be an object"),
    "two objects": (b"{}{}", "Invalid JSON"),
    "a thousand brackets": (b"[" * 1000, "Invalid JSON"),
    "yaml": (b"kind: run\n", "Invalid JSON"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_file_that_is_no_object_is_named(name: str, tmp_path: Path) -> None:
    data, fault = BAD_FILES[name]
    path = tmp_path / "manifest.json"
    path.write_bytes(data)
    message = refused("run", path)
    assert message.startswith("the file: ")
    assert fault in message


@pytest.mark.parametrize("kind", KINDS)
def test_file_cut_anywhere_is_refused(
    kind: str, golden: dict[str, list[Path]], tmp_path: Path
) -> None:
    data = golden[kind][0].read_bytes().rstrip()
    path = tmp_path / "manifest.json"
    for end in range(0, len(data), 37):
        path.write_bytes(data[:end])
        assert refused(kind, path).startswith("the file: ")


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in refused("run", tmp_path / "manifest.json")


def test_folder_is_named(tmp_path: Path) -> None:
    assert "directory" in refused("run", tmp_path)


def test_path_of_two_lines_gives_one_line(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        load(RunManifest, tmp_path / "two\nlines.json")
    assert len(str(caught.value).splitlines()) == 1


def test_error_names_the_record_wanted(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("{}")
    for kind in (DatasetManifest, RunManifest, EvalReport, ReleaseManifest):
        with pytest.raises(ManifestError, match=f"expected a {kind.__name__}, "):
            load(kind, path)
