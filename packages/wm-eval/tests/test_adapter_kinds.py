"""Adapters that cannot be answered with, and those whose base is not what lies below them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import preprocess_loraga

from wm_eval import WmEvalError, evaluate, load_model
from wm_eval.adapter_kinds import PROMPTS, check_kind, configs, not_its_base
from wm_eval.adapters import adapter_commit
from wm_eval.hf import HFGenerator
from wm_eval.start import answers_as_its_base
from wm_manifest import EvalReport, load

# peft 0.21 asks transformers for an attribute under its old name, and warns of what is tested here.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Careful, disabling adapter layers:UserWarning"),
]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"init_lora_weights": False}, ""),
        ({"init_lora_weights": "gaussian"}, ""),
        ({"init_lora_weights": "orthogonal"}, ""),
        ({"init_lora_weights": "mica"}, ""),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = pissa"),
        ({"init_lora_weights": "olora"}, "init_lora_weights = olora"),
        ({"bias": "all"}, "bias = all"),
        ({"bias": "lora_only"}, "bias = lora_only"),
    ],
)
def test_the_weights_below_are_the_base_where_nothing_is_taken_from_them(
    changes: dict[str, Any], why: str, make_model: Any
) -> None:
    """What we say of a kind is what PEFT does: after a step of training, the adapter off."""
    model = make_model(attention_bias=True)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        before = model(ids).logits
    adapted: Any = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], **changes))
    assert not_its_base(configs(adapted)[0]) == why
    with torch.no_grad():
        for name, weights in adapted.named_parameters():
            if weights.requires_grad and ("lora_" in name or name.endswith("bias")):
                weights.add_(0.1)
    with torch.no_grad(), adapted.disable_adapter():
        after = adapted(ids).logits
    assert torch.allclose(before, after, atol=1e-6) == (not why)


def test_no_base_is_asked_where_it_is_not_what_lies_below(
    model: Any, tokenizer: Any, dataset_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights="pissa")
    adapted: Any = get_peft_model(model, config).eval()
    assert not answers_as_its_base(adapted)
    report = evaluate(*(adapted, tokenizer, dataset_dir), limit=2, max_new_tokens=4, progress=False)
    assert report.base is None
    assert not [name for name in report.figures if "base" in name]
    (line,) = [record.getMessage() for record in caplog.records]
    assert "no base arm: below an adapter with init_lora_weights = pissa" in line


@pytest.mark.parametrize("kind", PROMPTS)
def test_an_adapter_that_learns_a_prompt_is_refused_by_its_file(kind: str) -> None:
    assert kind in peft.PeftType.__members__
    with pytest.raises(WmEvalError, match=rf"an/adapter is {kind}: .* give a LoRA"):
        check_kind({"peft_type": kind}, "an/adapter")


@pytest.mark.parametrize("begun", ["lora_ga", "LoRA_GA"])
def test_what_loading_does_not_take_from_the_base_again_is_refused(begun: str) -> None:
    with pytest.raises(WmEvalError, match="an/adapter has init_lora_weights = lora_ga"):
        check_kind({"peft_type": "LORA", "init_lora_weights": begun}, "an/adapter")


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_peft_begins_a_lora_ga_anew_when_it_loads_one(make_model: Any, tmp_path: Path) -> None:
    """If it took the same from the base as at first, such an adapter would be welcome."""
    model = make_model()
    ids = torch.arange(3, 40)[None]
    config = LoraConfig(
        r=4,
        target_modules=["q_proj"],
        init_lora_weights="lora_ga",
        lora_ga_config=peft.LoraGAConfig(),
    )

    def step() -> None:
        model(ids, labels=ids).loss.backward()

    preprocess_loraga(model, config, step)
    adapted: Any = get_peft_model(model, config)
    adapted.save_pretrained(tmp_path, save_embedding_layers=False)
    loaded = peft.PeftModel.from_pretrained(make_model(), str(tmp_path))
    with torch.no_grad():
        assert not torch.allclose(adapted(ids).logits, loaded(ids).logits, atol=1e-3)


def test_and_in_memory(model: Any, tokenizer: Any) -> None:
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    with pytest.raises(WmEvalError, match="the adapter is PROMPT_TUNING"):
        HFGenerator(get_peft_model(model, config), tokenizer, 2)


def test_every_kind_that_peft_calls_a_prompt_is_known() -> None:
    from peft.config import PromptLearningConfig
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    kinds = {
        str(kind.value)
        for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()
        if issubclass(config, PromptLearningConfig)
    }
    assert kinds <= set(PROMPTS)


@pytest.fixture
def on_disk(tmp_path: Path, make_model: Any, tokenizer: Any) -> dict[str, Path]:
    """A model, a base beside it, and an adapter that took what it began with from the base."""
    for name, seed in (("model", 0), ("base", 0)):
        make_model(seed=seed).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    model = make_model()
    model.name_or_path = str(tmp_path / "model")
    config = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights="pissa")
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    return {name: tmp_path / name for name in ("model", "base", "adapter")}


def test_such_an_adapter_is_evaluated_against_the_base_that_is_named(
    on_disk: dict[str, Path],
    dataset_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from wm_eval.cli import main

    folders = [str(x) for name, path in on_disk.items() for x in (f"--{name}", path)]
    with pytest.raises(SystemExit) as end:
        main(
            [
                *(*folders, "--data", str(dataset_dir), "--limit", "1", "--max-new-tokens", "2"),
                *("--device", "cpu", "--out", str(tmp_path / "e")),
            ]
        )
    assert end.value.code == 0, capsys.readouterr().err
    report = load(EvalReport, tmp_path / "e" / "eval.json")
    assert report.base is not None
    assert report.base.location == str(on_disk["base"])


def test_an_adapters_commit_is_the_one_that_the_hub_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def download(repo: str, name: str, revision: str | None = None) -> str:
        asked.append(revision)
        return str(tmp_path / "models--an--adapter" / "snapshots" / "c0ffee" / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert adapter_commit("an/adapter", "main") == "c0ffee"
    assert asked == ["main"]
    assert adapter_commit(None, None) is None
    assert adapter_commit(str(tmp_path), None) is None


def test_a_library_that_a_model_needs_and_is_not_there_is_one_line(
    on_disk: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks(*args: Any, **kwargs: Any) -> Any:
        raise ImportError("Using `bitsandbytes` 4-bit quantization requires bitsandbytes")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", lacks)
    with pytest.raises(WmEvalError, match=r"cannot be loaded .* requires bitsandbytes"):
        load_model(on_disk["model"], device="cpu")
