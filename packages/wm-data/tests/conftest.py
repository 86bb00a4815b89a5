"""The demo folder, built once; small local sources; the command with a hub on localhost."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import wm_data

settings.register_profile("untimed", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> wm_data.Dataset:
    out = tmp_path_factory.mktemp("built") / "demo"
    wm_data.build("demo", out, progress=False)
    return wm_data.read(out)


@pytest.fixture(scope="session")
def demo_rows(demo: wm_data.Dataset) -> list[wm_data.Row]:
    return [row for split in demo.manifest.splits for row in demo.rows(split)]


@pytest.fixture(scope="session")
def records(demo_rows: list[wm_data.Row]) -> list[dict[str, str]]:
    """Sound records as a source file holds them, 300 with as many prompts."""
    found: dict[str, dict[str, str]] = {}
    for row in demo_rows:
        found[row.group] = {
            "prompt": row.prompt,
            "red_answer": row.red_answer,
            "blue_answer": row.blue_answer,
        }
    return sorted(found.values(), key=lambda record: record["blue_answer"])[:300]


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[..., str]:
    """Write a recipe with these sources and return its path.

    Near duplicates are looked for where a test says so: the demo's rows are full of them.
    """
    usual = {"name": "small", "shares": {"test": 0.2}, "near_duplicates": None}

    def write(*sources: dict[str, object], **rest: object) -> str:
        recipe = {**usual, "sources": list(sources), **rest}
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps(recipe))  # JSON is YAML
        return str(path)

    return write


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[..., str]:
    """Write records as JSON lines and return the file's path."""

    def write(records: list[dict[str, object]], name: str = "seeds.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return str(path)

    return write


@pytest.fixture
def small(write_recipe: Callable[..., str], write_lines: Callable[..., str], records) -> str:
    """A recipe over the 300 records: builds in a fraction of the demo's time."""
    return write_recipe({"id": "a", "file": write_lines(records)})


@pytest.fixture
def files(demo: wm_data.Dataset) -> dict[str, bytes]:
    """Content of every file of the demo folder."""
    return {
        str(path.relative_to(demo.path)): path.read_bytes()
        for path in demo.path.rglob("*")
        if path.is_file()
    }


@dataclass(frozen=True)
class Command:
    """wm-data as a user starts it, with the real clients pointed at a hub on localhost."""

    hub: Any
    home: Path

    def __call__(
        self, *arguments: str, endpoint: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "HF_ENDPOINT": endpoint or self.hub.endpoint,
            "HF_HOME": str(self.home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": self.hub.token,
        }
        return subprocess.run(
            [sys.executable, "-m", "wm_data", *arguments],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip


@pytest.fixture
def hub(hub: Any, tmp_path: Path) -> Any:
    """The shared hub with one dataset, `someone/seeds`, and the command: `hub.run`."""
    hub.seeds = hub.create("someone/seeds", private=False, kind="datasets")
    hub.run = Command(hub, tmp_path / "hub-home")
    return hub


@pytest.fixture
def here(
    hub: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """As `hub.run`, in this process, which has imported `datasets` already."""
    from huggingface_hub import HfFileSystem

    from wm_data import cli

    cache = hub.run.home / "datasets"
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", hub.endpoint)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", cache)
    monkeypatch.setattr("datasets.config.DOWNLOADED_DATASETS_PATH", cache / "downloads")
    HfFileSystem.clear_instance_cache()  # knows files by their endpoint, and ports come again

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        code = cli.main(arguments)
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return run
