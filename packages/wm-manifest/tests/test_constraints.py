"""What no run, evaluation or dataset can have: hashes that are none, less than nothing, and the like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from wm_manifest import EvalReport, FileRef, Hardware, ManifestError, load, save
from wm_manifest.schema import RECORDS

HASH = "String should match pattern '^[0-9a-f]{64}$'"
COUNT = "greater than or equal to 0"
OUTSIDE = "the path leads out of the manifest's folder"

# Kind, path into the content, value, fault as named.
CASES: list[tuple[str, list[Any], object, str]] = [
    ("run", ["schema_version"], True, "Input should be 1, found True"),
    ("run", ["schema_version"], 1.0, "Input should be 1, found 1.0"),
    ("dataset", ["schema_version"], True, "Input should be 1, found True"),
    ("evaluation", ["schema_version"], 1.0, "Input should be 1, found 1.0"),
    ("release", ["schema_version"], True, "Input should be 1, found True"),
    ("evaluation", ["dataset_sha256"], "nope", f"{HASH}, found 'nope'"),
    ("evaluation", ["chat_template_sha256"], "", HASH),
    ("run", ["lock_sha256"], "0" * 63, HASH),
    ("run", ["weights_sha256"], "0" * 65, HASH),
    ("run", ["weights_sha256"], "0" * 64 + "\n", HASH),
    ("run", ["tokenizer_sha256"], "A" * 64, HASH),
    ("run", ["chat_template_sha256"], "nope", HASH),
    ("run", ["base_weights_sha256"], "nope", HASH),
    ("run", ["git", "diff_sha256"], "nope", HASH),
    ("run", ["dataset", "manifest_sha256"], "nope", HASH),
    ("run", ["evaluations", 0, "templates"], {"watermark/red/plain": "nope"}, HASH),
    ("run", ["steps"], -5, f"{COUNT}, found -5"),
    ("run", ["attempts", 0, "from_step"], -1, COUNT),
    ("run", ["checkpoints", 0, "step"], -1, COUNT),
    ("run", ["evaluations", 0, "step"], -1, COUNT),
    ("run", ["processes"], -1, COUNT),
    ("run", ["hardware", "cores"], -1, COUNT),
    ("run", ["base", "parameters"], -1, COUNT),
    ("run", ["dataset", "dropped"], {"too short": -1}, COUNT),
    ("evaluation", ["step"], -1, COUNT),
    ("dataset", ["splits", "train", "by_task", "detect"], -1, COUNT),
    ("dataset", ["dropped"], {"too short": -1}, COUNT),
    ("evaluation", ["controls", 0, "passed"], False, "'gold answers earn their colour' failed"),
]  # fmt: skip
FIELD = {"controls": "valid"}  # where another field than the altered one is at fault


def altered(golden: dict[str, list[Path]], kind: str, keys: list[Any], value: object) -> str:
    """The golden file of a kind with one value in it replaced."""
    whole = json.loads(golden[kind][0].read_text("utf-8"))
    inner: Any = whole
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return json.dumps(whole)


@pytest.mark.parametrize(
    ("kind", "keys", "value", "fault"), CASES, ids=[str(n) for n in range(len(CASES))]
)
def test_field_at_fault_is_named(
    kind: str,
    keys: list[Any],
    value: object,
    fault: str,
    golden: dict[str, list[Path]],
    tmp_path: Path,
) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(altered(golden, kind, keys, value), "utf-8")
    with pytest.raises(ManifestError) as caught:
        load(RECORDS[kind], path)
    where = FIELD.get(keys[0], ".".join(map(str, keys)))
    assert str(caught.value).startswith(f"{path}: {where}")
    assert fault in str(caught.value)


PATHS = {
    "a parent": "../../etc/passwd",
    "a parent farther in": "data/../../x.txt",
    "a parent alone": "..",
    "the root": "/etc/passwd",
    "nothing": "",
    "the folder": ".",
    "a folder": "data/",
    "a drive": "C:/x.txt",
    "a drive's own folder": "C:x.txt",
    "backslashes": "..\\x.txt",
    "a zero byte": "a\0b",
}


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("kind", ["dataset", "release"])
def test_listed_file_lies_in_the_manifests_folder(
    name: str, kind: str, golden: dict[str, list[Path]], tmp_path: Path
) -> None:
    """Readers join these paths to the folder, hash what is there, and upload it."""
    path = tmp_path / "manifest.json"
    path.write_text(altered(golden, kind, ["files", 1, "path"], PATHS[name]), "utf-8")
    with pytest.raises(ManifestError) as caught:
        load(RECORDS[kind], path)
    assert str(caught.value).startswith(f"{path}: files.1: {OUTSIDE}, found {PATHS[name]!r}")


def test_files_of_a_source_may_be_called_anything(
    golden: dict[str, list[Path]], tmp_path: Path
) -> None:
    """They say what was read, from wherever it was; on some systems a name has a backslash."""
    path = tmp_path / "manifest.json"
    for name in ("a/../b.jsonl", "a\\b.jsonl"):
        path.write_text(altered(golden, "dataset", ["sources", 1, "files", 0, "path"], name))
        assert load(RECORDS["dataset"], path)


@pytest.mark.parametrize("name", ["data/a.parquet", "a b", "..a", "a..b/c", "ä/é.txt"])
def test_path_inside_is_taken(name: str, golden: dict[str, list[Path]], tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(altered(golden, "dataset", ["files", 1, "path"], name), "utf-8")
    assert load(RECORDS["dataset"], path)


@pytest.mark.parametrize(
    ("passed", "blocking", "valid", "taken"),
    [
        (True, True, True, True),
        (True, True, False, True),  # whoever wrote it may know more
        (False, True, False, True),
        (False, True, True, False),
        (False, False, True, True),
    ],
)
def test_valid_report_has_no_failed_blocking_control(
    passed: bool, blocking: bool, valid: bool, taken: bool, example: Any, tmp_path: Path
) -> None:
    report: EvalReport = example("evaluation")
    control = report.controls[0].model_copy(update={"passed": passed, "blocking": blocking})
    report = report.model_copy(update={"controls": [control], "valid": valid})
    if taken:
        save(report, tmp_path / "eval.json")
        assert load(EvalReport, tmp_path / "eval.json") == report
    else:
        with pytest.raises(ManifestError, match=r"eval\.json: valid: not written"):
            save(report, tmp_path / "eval.json")


def test_record_cannot_be_made_with_what_no_file_may_have() -> None:
    with pytest.raises(ValidationError, match="finite"):
        Hardware(platform="x", cpu="x", cores=1, memory_gib=float("nan"))
    with pytest.raises(ValidationError, match="bytes"):
        FileRef(path="x", bytes=-1, sha256="0" * 64)
