"""What JSON parsers take and no file of ours has: NaN as it is, numbers too large, a key twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wm_manifest import Estimate, ManifestError, load, save
from wm_manifest.schema import RECORDS

RATE = '"learning_rate": 0.003'
MEMORY = '"memory_gib": 23.5'
VALUE = '"value": 0.875'
NUMBER = "is no finite number; write one, or null"

# Name -> kind, text of its golden file, what stands there instead, field as named, fault as named.
CASES = {
    "NaN where anything may stand": ("run", RATE, '"learning_rate": NaN', "config.optim.learning_rate", f"NaN {NUMBER}"),
    "infinity in a list": ("run", '"lora": null', '"lora": [1, -Infinity]', "config.model.lora.1", f"-Infinity {NUMBER}"),
    "NaN for a number": ("run", MEMORY, '"memory_gib": NaN', "hardware.memory_gib", f"NaN {NUMBER}"),
    "NaN for a figure": ("evaluation", VALUE, '"value": NaN', "figures.watermark/red/success.value", 'a figure\'s NaN is the text "NaN"'),
    "NaN for a whole number": ("dataset", '"seed": 0', '"seed": NaN', "seed", f"NaN {NUMBER}"),
    "a number too large": ("run", MEMORY, '"memory_gib": 1e999', "hardware.memory_gib", f"1e999 {NUMBER}"),
    "one below every number": ("run", RATE, '"learning_rate": -1E400', "config.optim.learning_rate", f"-1E400 {NUMBER}"),
    "one of many digits": ("run", MEMORY, f'"memory_gib": 1{"0" * 400}.5', "hardware.memory_gib", f"... {NUMBER}"),
    "a whole one too large": ("run", MEMORY, f'"memory_gib": 1{"0" * 400}', "hardware.memory_gib", "a finite number, found 1000"),
    "a key twice": ("dataset", '"seed": 0', '"seed": 5, "seed": 0', "seed", "stands there twice"),
    "a key twice, the same": ("dataset", '"seed": 0', '"seed": 0, "seed": 0', "seed", "stands there twice"),
    "a key twice, once escaped": ("dataset", '"seed": 0', '"s\\u0065ed": 0, "seed": 0', "seed", "stands there twice"),
    "a key twice, farther in": ("run", '"revision": null, "lora"', '"base": "x", "revision": null, "lora"', "config.model.base", "stands there twice"),
    "a key twice in a list": ("dataset", '"id": "demo",', '"id": "demo", "id": "essays",', "recipe.sources.0.id", "stands there twice"),
    "NaN and a key twice": ("dataset", '"seed": 0', '"seed": NaN, "seed": 0', "seed", f"NaN {NUMBER}"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_file_is_refused_and_the_field_named(
    name: str, golden: dict[str, list[Path]], tmp_path: Path
) -> None:
    kind, old, new, where, fault = CASES[name]
    whole = golden[kind][0].read_text("utf-8")
    assert old in whole
    path = tmp_path / "manifest.json"
    path.write_text(whole.replace(old, new, 1), "utf-8")
    with pytest.raises(ManifestError) as caught:
        load(RECORDS[kind], path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {where}: ")
    assert fault in message
    assert len(message.splitlines()) == 1
    assert len(message) < 400


# Text of a configuration's value that is fine, however odd, and is the same when it is saved anew.
FINE = {
    "the largest number": "1.7976931348623157e308",
    "the smallest": "5e-324",
    "one below it": "1e-999",
    "a whole number of 400 digits": "1" + "0" * 400,
    "minus nothing": "-0.0",
    "texts that are numbers": '["NaN", "1e999"]',
    "a key in two objects": '[{"a": 1}, {"a": 1}]',
    "a key of its own name": '{"a": {"a": 1}}',
    "no key": '{"": 1}',
    "190 lists": "[" * 190 + "]" * 190,
}


@pytest.mark.parametrize("name", FINE)
def test_what_loads_can_be_saved(name: str, golden: dict[str, list[Path]], tmp_path: Path) -> None:
    text = golden["run"][0].read_text("utf-8").replace(RATE, f'"learning_rate": {FINE[name]}')
    path = tmp_path / "manifest.json"
    path.write_text(text, "utf-8")
    record = load(RECORDS["run"], path)
    save(record, path)
    assert load(RECORDS["run"], path) == record


def test_brackets_deeper_than_python_goes_are_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    for depth in (300, 100_000):
        path.write_text('{"value": ' + "[" * depth + "]" * depth + "}", "utf-8")
        with pytest.raises(ManifestError, match="the file: Invalid JSON"):
            load(Estimate, path)


def test_every_golden_file_has_each_key_once(golden: dict[str, list[Path]]) -> None:
    """The hook sees what it is meant to see: else no file of ours could fail the cases above."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    for path in (path for paths in golden.values() for path in paths):
        json.loads(path.read_text("utf-8"), object_pairs_hook=once)
