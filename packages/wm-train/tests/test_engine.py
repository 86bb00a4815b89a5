"""What the trainer is put together with, where that goes by the machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from wm_train import engine
from wm_train.config import TrainConfig
from wm_train.logps import CHUNK


@pytest.fixture
def built(
    tiny: Callable[..., TrainConfig],
    base_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    torch.backends.cuda.enable_cudnn_sdp(True)  # as torch begins
    pair = {"id": "0", "row_id": "0", "task": "detect", "prompt_ids": [1]}
    rows = Dataset.from_list([pair | {"chosen_ids": [2, 0], "rejected_ids": [3, 0]}] * 6)
    model: Any = AutoModelForCausalLM.from_pretrained(base_dir)
    tokenizer: Any = AutoTokenizer.from_pretrained(base_dir)
    return engine.build(tiny(), tmp_path, model, tokenizer, rows, [])


def test_a_training_goes_without_cudnns_attention(built: Any) -> None:
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_a_cpu_computes_the_head_in_small_products(built: Any) -> None:
    assert built._head_chunk == CHUNK


@pytest.mark.parametrize("gpu", [True, False])
def test_batches_go_to_a_gpu_while_it_computes(
    gpu: bool,
    tiny: Callable[..., TrainConfig],
    base_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    model: Any = AutoModelForCausalLM.from_pretrained(base_dir)
    found = engine._arguments(tiny(), tmp_path, model)
    assert found["dataloader_pin_memory"] == gpu
    assert found["accelerator_config"] == {"non_blocking": gpu}
