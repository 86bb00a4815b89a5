"""Products of many shapes on a CPU do not fill the memory with their kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from wm_eval.hf import HFGenerator
from wm_eval.kernels import CACHES, bound_caches
from wm_eval.preserve import preserved

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


@pytest.fixture
def cudnn() -> Iterator[None]:
    """As torch begins: it may take cuDNN's attention."""
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    yield
    torch.backends.cuda.enable_cudnn_sdp(before)


@pytest.mark.usefixtures("cudnn")
def test_answers_are_written_without_cudnns_attention(
    make_model: Callable[..., Any], tokenizer: Any
) -> None:
    HFGenerator(make_model(), tokenizer, 1)
    assert not torch.backends.cuda.cudnn_sdp_enabled()


@pytest.mark.usefixtures("cudnn")
def test_a_training_around_it_keeps_its_own(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model()
    with preserved(model, tokenizer):
        HFGenerator(model, tokenizer, 1)
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.cudnn_sdp_enabled()


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
