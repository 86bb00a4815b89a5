"""Products of many shapes on a CPU do not fill the memory with their kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wm_eval.kernels import CACHES, bound_caches

GROWTH = """
from pathlib import Path
from wm_eval.kernels import bound_caches
bound_caches()
import torch

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

up, down = torch.randn(576, 1536).bfloat16(), torch.randn(1536, 576).bfloat16()
for rows in range(800, 1100):
    if rows == 950:
        before = resident_mb()  # both caches are full
    inner = torch.randn(rows, 576).bfloat16() @ up
    inner.t() @ (inner @ down)
print(resident_mb() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="Linux alone says it")
def test_a_full_cache_does_not_grow() -> None:
    """Without the bound it grows by 0.4 GB more where the processor multiplies bfloat16."""
    plain = {name: value for name, value in os.environ.items() if name not in CACHES}
    done = subprocess.run(
        [sys.executable, "-c", GROWTH], env=plain, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 150


def test_what_the_environment_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv(CACHES[0], "7")
    monkeypatch.delenv(CACHES[1], raising=False)
    bound_caches()
    assert [os.environ[name] for name in CACHES] == ["7", "128"]


@pytest.mark.parametrize("command", ["wm_train.cli", "wm_eval.cli"])
def test_the_commands_ask_for_it_before_torch_is_there(command: str) -> None:
    code = (
        f"import os, sys; sys.argv = ['x', '--version']; import {command} as command\n"
        "try:\n    command.main()\nexcept SystemExit:\n    pass\n"
        f"print([os.environ.get(name) for name in {CACHES!r}])"
    )
    plain = {name: value for name, value in os.environ.items() if name not in CACHES}
    done = subprocess.run(
        [sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "['128', '128']"
