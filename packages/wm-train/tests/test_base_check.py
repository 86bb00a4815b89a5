"""What cannot be loaded here is refused before a dataset is built for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from wm_train import base, run
from wm_train.config import LoraConfig, ModelConfig, TrainConfig
from wm_train.errors import ConfigError

# fields of the model -> what is said
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "flex_attention": ({"attention": "flex_attention"}, r"flex_attention needs a CUDA.*take sdpa"),
    "folder that is not there": ({"base": "./nowhere"}, r"'\./nowhere' cannot be loaded"),
    "folder above": ({"base": "../nowhere"}, "it is no folder here"),
    "absolute path": ({"base": "/nowhere"}, "it is no folder here"),
    "home": ({"base": "~/nowhere"}, "it is no folder here"),
    "deep path": ({"base": "models/qwen/nowhere"}, "it is no folder here"),
    "misspelt built-in": ({"base": "dmeo"}, r"none of those that are built here \(demo, smollm2"),
    "file": ({"base": "weights/model.gguf"}, "it is no folder here"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_that_cannot_be_loaded_ends_a_start_at_once(
    case: str,
    tiny: Callable[..., TrainConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fields, expected = REFUSED[case]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/model.gguf").touch()
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match=expected):
        run.train(tiny(model=fields), tmp_path / "run", None, ["wm-train"], Console(quiet=True))
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


@pytest.mark.parametrize("name", ["demo", "smollm2-135m", "Qwen/Qwen3-0.6B", "models/mine", "here"])
def test_a_base_that_may_be_there_is_not_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("models/mine", "here"):
        (tmp_path / folder).mkdir(parents=True)
    base.check(ModelConfig(base=name))


@pytest.mark.parametrize("installed", [True, False])
def test_four_bits_want_a_package_and_no_gpu(
    installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = ModelConfig(base="demo", four_bit=True, lora=LoraConfig())
    if installed:
        base.check(config)
        return
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs bitsandbytes, which is not installed: uv sync"):
        base.check(config)
