"""Which lines of the libraries a run shows."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
from transformers import GenerationConfig, PretrainedConfig
from transformers.trainer_utils import align_special_tokens

from wm_train import demo_base
from wm_train.quiet import quieten


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"eos_token_id": 2, "pad_token_id": 0}, False),
        ({"eos_token_id": 2}, False),  # as the configuration of Qwen3 from the hub
        ({"eos_token_id": 9}, True),
    ],
)
def test_a_padding_token_is_given_in_silence(
    known: dict[str, int], told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer: Any = demo_base.demo_tokenizer()
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    known = {name: ids[name] if value in (0, 2) else value for name, value in known.items()}
    config = PretrainedConfig(**known)
    model = SimpleNamespace(config=config, generation_config=GenerationConfig(**known))
    quieten()
    align_special_tokens(model, tokenizer)
    assert config.pad_token_id == tokenizer.pad_token_id
    assert ("has new PAD/BOS/EOS tokens" in caplog.text) == told


@pytest.mark.parametrize("terminal", [True, False])
def test_a_download_is_seen_on_a_terminal_and_not_in_a_log(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """For minutes of a base's gigabytes there was nothing to be seen."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    enable_progress_bars()
    quieten()
    assert are_progress_bars_disabled() != terminal
    enable_progress_bars()
