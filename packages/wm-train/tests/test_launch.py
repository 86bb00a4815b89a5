"""What a launcher asks for and the run is not: one line, before anything is loaded."""

from collections.abc import Iterator

import pytest

from wm_train import processes
from wm_train.errors import ConfigError


@pytest.fixture(autouse=True)
def unasked() -> Iterator[None]:
    """The group is found once in a process."""
    processes._group.cache_clear()
    yield
    processes._group.cache_clear()


@pytest.mark.parametrize(
    ("asked", "precision", "fits"),
    [
        (None, "float32", True),
        ("", "float32", True),
        ("no", "float32", True),
        ("bf16", "float32", False),
        ("fp16", "float32", False),
        (None, "bfloat16", True),
        ("no", "bfloat16", True),  # of a launcher that was told nothing
        ("bf16", "bfloat16", True),
        ("fp8", "bfloat16", False),
    ],
)
def test_a_launcher_does_not_choose_the_precision(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, precision: str, fits: bool
) -> None:
    monkeypatch.delenv(processes.MIXED, raising=False)
    if asked is not None:
        monkeypatch.setenv(processes.MIXED, asked)
    if fits:
        processes.check_precision(precision)
        return
    with pytest.raises(ConfigError, match=f"{asked}, and model.precision is {precision}"):
        processes.check_precision(precision)


@pytest.mark.parametrize("world", [None, "1", "2"])
@pytest.mark.parametrize("name", processes.SHARDED)
def test_sharding_is_refused_of_one_process_too(
    monkeypatch: pytest.MonkeyPatch, name: str, world: str | None
) -> None:
    monkeypatch.setenv(name, "true")
    if world is not None:
        monkeypatch.setenv("WORLD_SIZE", world)
    with pytest.raises(ConfigError, match=f"unset {name}"):
        processes.number()


def test_one_process_is_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert processes.number() == 1
