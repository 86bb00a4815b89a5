"""For every package's tests: one hub on localhost, and workers that do not fight for the cores."""

import atexit
import gc
import importlib.util
import os
import ssl
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch
# Tests start many processes. Where the environment forbids caches of compiled code, as images
# of containers do, each would compile all of torch and transformers again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

collect_ignore_glob = ["packages/*/scripts/*"]  # run by hand, and they import each other


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """No search for garbage among what is imported and collected: most of a million objects stay.

    Each search would take half a second, and a training run asks for some.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        atexit.register(gc.unfreeze)  # nanobind takes what is still frozen then for leaked


SERVER = Path(__file__).parent / "packages/wm-publish/tests/hub_server.py"


@pytest.fixture(scope="session")
def hub_server() -> Any:
    """The module with the hub that all tests share, by its path: test folders are no packages."""
    name = "wm_test_hub_server"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, SERVER)
        assert spec
        assert spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def hub(hub_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The only hub there is, with a token; the client's waits go to `hub.waits`, and no time by."""
    from huggingface_hub.utils import close_session

    with hub_server.Hub() as running:
        running.Fault, running.Blob, running.waits = hub_server.Fault, hub_server.Blob, []
        clock = SimpleNamespace(sleep=running.waits.append)
        # A client that failed is thrown away, and the next reads all certificates again, in
        # several threads at once. The hub speaks plain HTTP: one context, read once, is enough.
        monkeypatch.setattr("httpcore2.default_ssl_context", lambda **_: tls_context())
        monkeypatch.setattr("huggingface_hub.utils._http.time", clock)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.endpoint)
        url = running.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setenv("HF_TOKEN", running.token)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        forget_client()
        yield running
        forget_client()
        close_session()


@cache
def tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def forget_client() -> None:
    """Transformers keeps the client that it made first, with the endpoint of then."""
    if module := sys.modules.get("transformers.utils.hub"):
        vars(module)["_hf_api"] = None
