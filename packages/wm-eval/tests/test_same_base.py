"""An adapter on a local base that is not the trained one is told, where that is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wm_eval import load_model
from wm_eval.same_base import warn_of_other_base
from wm_manifest import GitState, Hardware, ModelRef, RunManifest, save
from wm_manifest.weights import weights_sha256

# peft 0.21 asks transformers for an attribute under its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

TRAINED, OTHER = b"the weights", b"other weights"


def weights(folder: Path, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(content)
    return folder


def run_of(folder: Path, base_weights: str | None) -> Path:
    """A run's manifest in `folder`; the folder of its adapter."""
    manifest = RunManifest(
        name="r", status="finished", created_at="2026-01-01T00:00:00+00:00", command=[],
        preset=None, config={}, seed=0, git=GitState(commit=None, dirty=False),
        lock_sha256=None, packages={}, python="3.11",
        hardware=Hardware(platform="", cpu="", cores=1, memory_gib=1.0),
        base=ModelRef(location="base"), base_weights_sha256=base_weights, codebook="c",
        output="adapter",
    )  # fmt: skip
    (folder / "adapter").mkdir(parents=True)
    save(manifest, folder / "manifest.json")
    return folder / "adapter"


@pytest.mark.parametrize(
    ("recorded", "named", "given", "warns"),
    [
        ("hash", "away", TRAINED, False),
        ("hash", "away", OTHER, True),
        ("hash", "here", OTHER, True),
        ("hash", "", OTHER, True),
        ("no hash", "here", TRAINED, False),
        ("no hash", "here", OTHER, True),
        ("no run", "here", OTHER, True),
        ("no hash", "away", OTHER, False),
        ("no hash", "", OTHER, False),
        ("no run", "me/base", OTHER, False),
        ("no run", "\0", OTHER, False),
        ("damaged", "here", TRAINED, False),
        ("damaged", "here", OTHER, True),
        ("hash", "here", None, False),  # no weights in a file that is known
    ],
)
def test_what_is_known_decides(
    recorded: str,
    named: str,
    given: bytes | None,
    warns: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    base = weights(tmp_path / "here", TRAINED)
    hashed = weights_sha256(base) if recorded == "hash" else None
    adapter = run_of(tmp_path / "run", hashed)
    manifest = tmp_path / "run" / "manifest.json"
    if recorded == "no run":
        manifest.unlink()
    if recorded == "damaged":
        manifest.write_bytes(b"\xff{")
    model = weights(tmp_path / "model", given) if given else tmp_path
    made_for = str(tmp_path / named) if named in ("here", "away") else named
    warn_of_other_base(str(model), adapter, made_for)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == warns
    for line in lines:
        assert f"{adapter} was trained on other weights than those of {model}" in line


@pytest.mark.parametrize("name", ["base", "link", "../{here}/base"])
def test_the_same_folder_is_not_hashed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = weights(tmp_path / "base", OTHER)
    (tmp_path / "link").symlink_to(base)

    hashed: list[Path] = []
    monkeypatch.setattr("wm_eval.same_base.weights_sha256", hashed.append)
    monkeypatch.chdir(tmp_path)
    adapter = run_of(tmp_path / "run", "f" * 64)
    warn_of_other_base(name.format(here=tmp_path.name), adapter, str(base))
    warn_of_other_base("me/base", adapter, str(base))  # of the hub, whose commit says it
    assert hashed == []


def test_weights_that_cannot_be_read_are_not_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = run_of(tmp_path / "run", "f" * 64)
    (tmp_path / "model" / "model.safetensors").mkdir(parents=True)
    warn_of_other_base(str(tmp_path / "model"), adapter, "")
    assert not caplog.records


def test_a_loaded_adapter_is_told_of(
    tmp_path: Path,
    make_model: Callable[..., Any],
    tokenizer: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from peft import LoraConfig, get_peft_model

    for seed, name in enumerate(["trained", "other"]):
        make_model(seed=seed).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    model = make_model()
    model.name_or_path = str(tmp_path / "trained")
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    for name, warns in {"trained": False, "other": True}.items():
        caplog.clear()
        load_model(tmp_path / name, tmp_path / "adapter", device="cpu")
        told = [r.getMessage() for r in caplog.records if r.name == "wm_eval.same_base"]
        assert len(told) == warns
