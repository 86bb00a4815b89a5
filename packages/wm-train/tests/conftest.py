"""A small dataset, the demo's base and a configuration of a few steps, made once a session."""

import ctypes
import os
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import wm_data
from wm_manifest import GitState, Hardware, ModelRef, RunManifest
from wm_train import demo_base, presets
from wm_train.config import TrainConfig

ROWS = 60
NEW_USER, NEW_MOUNTS, PRIVATE = 0x10000000, 0x00020000, 0x44000  # of Linux, for unshare and mount
NO_SPACE = 77  # the exit code where the system lets us have no name space


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


@pytest.fixture(scope="module")
def no_pictures() -> Iterator[None]:
    """Runs draw no curves, which takes a third of their time; those of test_run and others do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wm_train.plots.draw", lambda *_: [])
        yield


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


@pytest.fixture
def on_a_disk(tmp_path: Path) -> Callable[[Path, str, Callable[[], Any]], Any]:
    """Calls a function in a child, for which a folder is a tmpfs of a size; gives what it gives.

    The child is forked: a new interpreter would import for as long as a whole test takes.
    """

    def call(disk: Path, size: str, work: Callable[[], Any]) -> Any:
        result = tmp_path / "result.pickle"
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = NO_SPACE if not mounted(disk, size) else 0
                if not code:
                    result.write_bytes(pickle.dumps(work()))
            except BaseException:
                code = 1
                result.with_suffix(".txt").write_text(traceback.format_exc(), "utf-8")
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == NO_SPACE:
            pytest.skip("no mount in a user's name space here")
        assert code == 0, result.with_suffix(".txt").read_text("utf-8")
        return pickle.loads(result.read_bytes())

    return call


def mounted(disk: Path, size: str) -> bool:
    """Give this process, which has one thread, name spaces of its own with a tmpfs at `disk`."""
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if not hasattr(libc, "unshare") or libc.unshare(NEW_USER | NEW_MOUNTS):
        return False
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except OSError:  # where a name space comes without rights
        return False
    nowhere_else = libc.mount(b"none", b"/", None, PRIVATE, None) == 0
    options = f"size={size}".encode()
    return nowhere_else and libc.mount(b"none", bytes(disk), b"tmpfs", 0, options) == 0
