"""Damage to a seal or to a whole folder is seen; nothing is removed before the user says so."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from wm_manifest import Checkpoint
from wm_train import checkpoints, resume
from wm_train.errors import CheckpointError


def save(run: Path, step: int) -> Path:
    folder = run / f"checkpoints/checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"abc")
    checkpoints.seal(folder, step)
    return folder


def choose(run: Path, *steps: int, restart: bool = False) -> tuple[Path | None, str]:
    """What a run whose manifest names these checkpoints goes on from, and what it says."""
    named = [Checkpoint(step=step, path=f"checkpoints/checkpoint-{step}") for step in steps]
    before: Any = SimpleNamespace(checkpoints=named)
    console = Console(record=True, width=200, file=io.StringIO())
    return resume.checkpoint(run, before, restart, console), console.export_text()


def test_no_bit_of_a_seal_can_flip_unseen(tmp_path: Path) -> None:
    folder = save(tmp_path, 2)
    assert checkpoints.fault(folder) is None
    whole = (folder / checkpoints.SEAL).read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            altered = bytearray(whole)
            altered[at] ^= 1 << bit
            (folder / checkpoints.SEAL).write_bytes(bytes(altered))
            assert checkpoints.fault(folder) is not None, (at, bit, bytes(altered))


def test_a_checkpoint_that_is_gone_is_missed(tmp_path: Path) -> None:
    folder = save(tmp_path, 2)
    said = "checkpoint-3 is passed over: its folder is missing\n"
    assert choose(tmp_path, 1, 2, 3) == (folder, said)  # 1 made room for 3, as it should


def test_with_none_whole_it_starts_over_only_when_told(tmp_path: Path) -> None:
    for step in (2, 3):
        (save(tmp_path, step) / "a.bin").write_bytes(b"abd")
    with pytest.raises(CheckpointError, match="no whole checkpoint left; give --restart"):
        choose(tmp_path, 2, 3)
    assert len(checkpoints.found(tmp_path / "checkpoints")) == 2
    chosen, said = choose(tmp_path, 2, 3, restart=True)
    assert chosen is None
    assert said.splitlines() == [
        "checkpoint-3 is passed over: a.bin has other content than was saved",
        "checkpoint-2 is passed over: a.bin has other content than was saved",
        "training starts over from step 0",
    ]
    assert not checkpoints.found(tmp_path / "checkpoints")
