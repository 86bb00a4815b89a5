"""The test hub of wm-publish, for commands that are started as a user starts them."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SERVER = Path(__file__).parents[1] / "packages/wm-publish/tests/hub_server.py"


def load_server() -> Any:
    """The module, by its path: test folders are no packages."""
    name = "wm_test_hub_server"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, SERVER)
        assert spec
        assert spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="module")
def hub_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a process for which a hub on localhost is the only one there is."""
    with load_server().Hub() as hub:
        yield {
            "HF_ENDPOINT": hub.endpoint,
            "HF_TOKEN": hub.token,
            "HF_HOME": str(tmp_path_factory.mktemp("hf-home")),
            "HF_HUB_DISABLE_XET": "1",  # the test hub has none
            "WANDB_MODE": "offline",
            "PATH": "/usr/bin:/bin",
            "COLUMNS": "80",
        }
