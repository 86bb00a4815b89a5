"""The hash of a model folder's weights is of its weights, and of all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wm_manifest.weights import weights_sha256


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_the_weights_of_a_folder_have_a_hash(tmp_path: Path, name: str) -> None:
    assert weights_sha256(tmp_path) is None
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(b"one")
    before = weights_sha256(tmp_path)
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert weights_sha256(tmp_path) == before
    (tmp_path / name).write_bytes(b"two")
    assert weights_sha256(tmp_path) not in (before, None)


def test_shards_count_all_and_no_folder_has_none(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"model-{number}.safetensors").write_bytes(b"one")
    before = weights_sha256(tmp_path)
    (tmp_path / "model-2.safetensors").write_bytes(b"two")
    assert weights_sha256(tmp_path) not in (before, None)
    assert weights_sha256(Path("someone/base")) is None
