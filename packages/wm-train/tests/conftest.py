"""A small dataset, the demo's base and a configuration of a few steps, made once a session."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wm_data
from wm_manifest import GitState, Hardware, ModelRef, RunManifest
from wm_train import demo_base, presets
from wm_train.config import TrainConfig

ROWS = 60


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of ours talks to W&B or the hub, whatever keys this machine has."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "demo"
    wm_data.build("demo", folder, seed=0, limit=ROWS, progress=False)
    return folder


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    demo_base.build(folder, seed=0)
    return folder


@pytest.fixture(scope="session")
def tiny(dataset_dir: Path) -> Callable[..., TrainConfig]:
    """The demo preset cut to two steps; sections given by name replace fields of it."""

    def make(**sections: dict[str, Any]) -> TrainConfig:
        fields = presets.load("demo")
        fields["data"] = {"path": str(dataset_dir), "max_tokens": 512}
        fields["optim"] |= {"steps": 2, "batch_size": 6}
        fields["evaluation"] |= {"every": 100, "limit": 1, "full_limit": 2, "max_new_tokens": 8}
        fields["checkpoint"] = {"every": 1, "keep": 1}
        fields["log_every"] = 1
        for name, section in sections.items():
            fields[name] = {**fields.get(name, {}), **section}
        return TrainConfig.model_validate(fields)

    return make


@pytest.fixture(scope="session")
def make_manifest() -> Callable[..., RunManifest]:
    """The manifest of a demo run that has only begun; fields given by name replace its own."""

    def make(**fields: Any) -> RunManifest:
        known: dict[str, Any] = {
            "name": "plain",
            "status": "interrupted",
            "created_at": "2026-01-02T03:04:05+00:00",
            "command": ["wm-train"],
            "preset": "demo",
            "config": presets.load("demo"),
            "seed": 0,
            "git": GitState(commit="a" * 40, dirty=False),
            "lock_sha256": None,
            "packages": {"torch": "2.9"},
            "python": "3.11",
            "hardware": Hardware(platform="x", cpu="x", cores=2, memory_gib=8),
            "base": ModelRef(location="base"),
            "codebook": "x",
            "output": "model",
        }
        return RunManifest.model_validate(known | fields)

    return make
