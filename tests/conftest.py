"""The test hub of wm-publish, for commands that are started as a user starts them."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def hub_env(tmp_path_factory: pytest.TempPathFactory, hub_server: Any) -> Iterator[dict[str, str]]:
    """The environment of a process for which a hub on localhost is the only one there is."""
    with hub_server.Hub() as hub:
        yield {
            "HF_ENDPOINT": hub.endpoint,
            "HF_TOKEN": hub.token,
            "HF_HOME": str(tmp_path_factory.mktemp("hf-home")),
            "HF_HUB_DISABLE_XET": "1",  # the test hub has none
            "WANDB_MODE": "offline",
            "OMP_NUM_THREADS": "1",  # two workers share the cores
            "PATH": "/usr/bin:/bin",
            "COLUMNS": "80",
        }
