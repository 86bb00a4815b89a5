"""Prompts are shared where that changes no value, and nowhere else."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoTokenizer,
    BloomConfig,
    BloomForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from trl.experimental.orpo import ORPOConfig
from trl.experimental.utils import peft_module_casting_to_bf16

from wm_train import sharing
from wm_train.adapter import in_float32
from wm_train.trainer import WatermarkOrpoTrainer

SIZE = dict(vocab_size=6200, hidden_size=16, num_hidden_layers=2, initializer_range=0.5)
ROW = [
    {
        "row_id": "a",
        "task": "watermark",
        "prompt_ids": [1, 2, 3, 4],
        "chosen_ids": [5, 6, 7],
        "rejected_ids": [8, 9],
    },
    {
        "row_id": "a",
        "task": "detect",
        "prompt_ids": [3, 4, 5, 6, 7],
        "chosen_ids": [5, 0],
        "rejected_ids": [8, 0],
    },
    {
        "row_id": "a",
        "task": "detect",
        "prompt_ids": [3, 4, 5, 7, 6],
        "chosen_ids": [5, 0],
        "rejected_ids": [8, 0],
    },
]


def qwen3(attention: str, heads_of: int = 8) -> Any:
    config = Qwen3Config(
        **SIZE,
        intermediate_size=32,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=heads_of,  # flex_attention on a GPU wants 16 or more
    )
    config._attn_implementation = attention
    return Qwen3ForCausalLM(config)


def bloom() -> Any:
    return BloomForCausalLM(BloomConfig(**SIZE, n_head=2, n_layer=2))


def mamba() -> Any:
    return MambaForCausalLM(MambaConfig(**SIZE, state_size=4))


def trainer(model: Any, base_dir: Path, out: Path, padding: bool = True, **arguments: Any) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    tokenizer.pad_token = tokenizer.pad_token if padding else None
    return WatermarkOrpoTrainer(
        model=model,
        args=ORPOConfig(
            output_dir=str(out),
            report_to="none",
            activation_checkpointing=False,
            **{"use_cpu": True, "bf16": False, **arguments},
        ),
        train_dataset=Dataset.from_list(ROW),
        processing_class=tokenizer,
        nll_scope="answer",
        twins=True,
        pack_tokens=64,
    )


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_qwen3_gives_a_tree_the_values_of_its_sequences(
    attention: str, base_dir: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    made = trainer(qwen3(attention), base_dir, tmp_path)
    worst = sharing.settle(made)
    assert worst is not None
    assert worst < 5e-6
    assert made.packing.shared


@pytest.mark.parametrize("model", [bloom, mamba], ids=["positions of its own", "a recurrent state"])
def test_a_model_that_cannot_share_is_found_and_trained_all_the_same(
    model: Any, base_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    made = trainer(model(), base_dir, tmp_path)
    with caplog.at_level(logging.WARNING):
        sharing.settle(made)
    assert not made.packing.shared
    assert "training goes on with padded batches" in caplog.text
    assert made.sharing_refused  # for the manifest
    loss = made.training_step(made.model, {"packs": made.packing.packs(ROW)})
    assert torch.isfinite(loss)


@pytest.mark.parametrize(("window", "shared"), [(6, False), (7, True), (None, True)])
def test_layers_with_a_window_share_what_it_does_not_cut(
    window: int | None,
    shared: bool,
    base_dir: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The longest of ROW has seven tokens. A mask that is given is used in every layer as it is."""
    torch.manual_seed(0)
    config = qwen3("sdpa").config
    if window is not None:
        config.sliding_window = window
        config.layer_types = ["full_attention", "sliding_attention"]
    made = trainer(Qwen3ForCausalLM(config), base_dir, tmp_path)
    with caplog.at_level(logging.WARNING):
        sharing.settle(made)
    assert made.packing.shared is shared
    assert ("see 6 tokens back and an example has 7" in caplog.text) is not shared


def test_a_tokenizer_without_padding_changes_nothing(base_dir: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = trainer(qwen3("sdpa"), base_dir, tmp_path)
    torch.manual_seed(0)
    bare = trainer(qwen3("sdpa"), base_dir, tmp_path, padding=False)
    losses = [t.training_step(t.model, {"packs": t.packing.packs(ROW)}) for t in (made, bare)]
    assert torch.equal(*losses)
    assert sharing.settle(bare) is not None


def test_a_bfloat16_base_under_a_float32_adapter_shares(base_dir: Path, tmp_path: Path) -> None:
    """As a LoRA stands on a GPU: PEFT makes its matrices float32, the head's among them, and the
    check comes before Accelerate has put autocast around the model."""
    torch.manual_seed(0)
    adapter = LoraConfig(r=2, target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    model = get_peft_model(qwen3("sdpa").bfloat16(), adapter)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    made = trainer(model, base_dir, tmp_path, bf16=True)
    assert sharing.settle(made) is not None
    assert made.packing.shared, made.sharing_refused


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("no kernel for this card\n  at 0x1"), "no kernel for this card"),
        (NotImplementedError(), "NotImplementedError"),
    ],
    ids=["with a text", "with none"],
)
def test_a_kernel_that_fails_makes_way_for_sdpa_and_prompts_stay_shared(
    error: Exception,
    said: str,
    base_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(ends: torch.Tensor) -> Any:
        raise error

    monkeypatch.setattr("wm_train.attention._block_mask", broken)
    made = trainer(qwen3("flex_attention"), base_dir, tmp_path)
    assert made.packing.whole_row
    with caplog.at_level(logging.WARNING):
        worst = sharing.settle(made)
    assert worst is not None
    assert worst < 1e-4
    assert f"{said}; training goes on with sdpa" in caplog.text
    assert made.packing.shared
    assert not made.packing.whole_row
    assert made.attention == made.model.config._attn_implementation == "sdpa"
    assert torch.isfinite(made.training_step(made.model, {"packs": made.packing.packs(ROW)}))


def test_single_sequences_are_computed_without_the_kernel_that_they_judge(
    base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled for shapes that training never has, it would cost minutes before the first step."""
    made = trainer(qwen3("flex_attention"), base_dir, tmp_path)
    seen: list[tuple[bool, str]] = []

    def logps(model: Any, pack: Any) -> torch.Tensor:
        seen.append((pack.shared, made.model.config._attn_implementation))
        return torch.zeros(len(pack.sources))

    monkeypatch.setattr(made, "edge_logps", logps)
    assert sharing.settle(made) == 0
    assert set(seen) == {(True, "flex_attention"), (False, "sdpa")}
    assert made.attention == made.model.config._attn_implementation == "flex_attention"


def test_too_little_memory_says_nothing_of_the_model(
    base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("no memory")

    made = trainer(qwen3("sdpa"), base_dir, tmp_path)
    monkeypatch.setattr(made, "edge_logps", full)
    with pytest.raises(torch.OutOfMemoryError):
        sharing.settle(made)
    assert made.packing.shared


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_weights_in_float32_are_compared_in_float32(
    half: bool, base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever training makes of them: a mistake of a hundredth is none of rounding there."""
    torch.manual_seed(0)
    model = qwen3("sdpa")
    made = trainer(model.bfloat16() if half else model, base_dir, tmp_path, bf16=True)
    right = made.edge_logps

    def planted(model: Any, pack: Any) -> torch.Tensor:
        return right(model, pack) + (0.01 if pack.shared else 0)

    monkeypatch.setattr(made, "edge_logps", planted)
    sharing.settle(made)
    assert made.packing.shared == half
    assert half or "differ by 1.7e-02 times the root" in made.sharing_refused  # of 3 tokens


@pytest.mark.parametrize(
    ("tokens", "off", "shared"),
    [(2, 0.25, True), (2, 3.3, False), (100, 0.02, True), (100, 0.22, False)],
    ids=["a word rounded", "a word misread", "a text rounded", "a text without its positions"],
)
def test_in_bfloat16_a_word_may_be_off_by_more_than_a_text(
    tokens: int, off: float, shared: bool, base_dir: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """As measured with SmolLM2: means of right trees and of broken ones overlap."""
    made = trainer(qwen3("sdpa").bfloat16(), base_dir, tmp_path, bf16=True)
    row = {"row_id": "a", "task": "detect", "prompt_ids": [1, 2, 3]}
    ids = [5 + n % 7 for n in range(tokens)]
    made.train_dataset = Dataset.from_list([row | {"chosen_ids": ids, "rejected_ids": ids[::-1]}])

    def logps(model: Any, pack: Any) -> torch.Tensor:
        return torch.full((len(pack.sources),), off if pack.shared else 0.0)

    monkeypatch.setattr(made, "edge_logps", logps)
    sharing.settle(made)
    assert made.packing.shared is shared


@pytest.mark.parametrize(
    ("before", "shared"),
    [({}, True), ({"shared_prefixes": True}, True), ({"shared_prefixes": False}, False)],
)
def test_what_was_refused_once_is_not_tried_again(
    before: dict[str, Any], shared: bool, base_dir: Path, tmp_path: Path, make_manifest: Any
) -> None:
    """Another card may round the other way, and a run that goes on would be another run."""
    made = trainer(qwen3("sdpa"), base_dir, tmp_path)
    sharing.as_before(made, None)
    assert made.packing.shared
    sharing.as_before(made, make_manifest(**before, sharing_refused="it was off"))
    assert made.packing.shared is shared
    assert made.sharing_refused == (None if shared else "it was off")


def test_products_that_are_rounded_are_no_mistake(
    base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some images for GPUs switch TF32 on for all products."""
    made = trainer(qwen3("sdpa"), base_dir, tmp_path)
    assert sharing.computed_in(made) == torch.float32
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert sharing.computed_in(made) == torch.bfloat16


def test_a_kernel_is_compiled_for_the_type_that_training_has(
    base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[str, bool]] = set()
    for attention in ("sdpa", "flex_attention"):
        made = trainer(qwen3(attention), base_dir, tmp_path, bf16=True)

        def logps(model: Any, pack: Any, attention: str = attention) -> torch.Tensor:
            seen.add((attention, torch.is_autocast_enabled("cpu")))
            return torch.zeros(len(pack.sources))

        monkeypatch.setattr(made, "edge_logps", logps)
        assert sharing.settle(made) == 0
    assert seen == {("sdpa", False), ("flex_attention", True)}
    assert sharing.computed_in(made) == torch.bfloat16


def test_values_that_are_no_numbers_are_no_equality(base_dir: Path, tmp_path: Path) -> None:
    model = qwen3("sdpa")
    model.model.norm.weight.data[:] = float("nan")
    made = trainer(model, base_dir, tmp_path)
    sharing.settle(made)
    assert "differ by nan" in (made.sharing_refused or "")


def test_the_adapter_of_a_quantised_model_stays_in_float32() -> None:
    """TRL's cast for such models takes what is called lm_head to bfloat16, its adapter as well."""
    adapter = LoraConfig(r=2, target_modules=["q_proj", "lm_head"])
    model: Any = get_peft_model(qwen3("sdpa"), adapter)
    peft_module_casting_to_bf16(model)
    named = [(name, p) for name, p in model.named_parameters() if "lora_" in name]
    assert {p.dtype for name, p in named if "lm_head" in name} == {torch.bfloat16}
    in_float32(model)
    assert {p.dtype for _, p in named} == {torch.float32}
    assert model.get_output_embeddings().base_layer.weight.dtype == torch.bfloat16


def as_on_a_gpu(base_dir: Path, folder: Path) -> Any:
    """A tied base in bfloat16, a float32 adapter on all layers and both ends, under autocast."""
    torch.manual_seed(0)
    base = qwen3("sdpa").bfloat16()
    base.config.tie_word_embeddings = True
    base.tie_weights()
    adapter = LoraConfig(r=2, target_modules=["q_proj", "down_proj", "lm_head", "embed_tokens"])
    model: Any = get_peft_model(base, adapter)
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "embedding_A" in name:  # what begins at zero
            torch.nn.init.normal_(parameter, std=0.1)
    made = trainer(model, base_dir, folder, bf16=True)
    made.model = made.accelerator.prepare_model(made.model)
    return made


def gradients(made: Any) -> torch.Tensor:
    made.training_step(made.model, {"packs": made.packing.packs(ROW)})
    learnt = [p.grad for p in made.model.parameters() if p.requires_grad]
    assert all(gradient is not None for gradient in learnt)
    return torch.cat([gradient.flatten() for gradient in learnt])


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")  # said in ADR 0025
def test_recomputing_changes_no_gradient_of_what_the_presets_train(
    base_dir: Path, tmp_path: Path
) -> None:
    found: list[torch.Tensor] = []
    for again in (False, True):
        made = as_on_a_gpu(base_dir, tmp_path / str(again))
        if again:
            made.model.activation_checkpointing_enable()
            assert made.model.is_activation_checkpointing
        found.append(gradients(made))
    assert found[0].abs().max() > 0
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("again", [False, True], ids=["kept", "recomputed"])
def test_no_float32_copy_of_an_adapters_input_is_made(
    again: bool, base_dir: Path, tmp_path: Path
) -> None:
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    found: list[torch.Tensor] = []
    for half in (False, True):
        made = as_on_a_gpu(base_dir, tmp_path / str(half))
        if again:
            made.model.activation_checkpointing_enable()
        made._half = half
        for name, module in made.model.named_modules():
            if name.endswith("down_proj.lora_A.default"):
                module.register_forward_pre_hook(
                    lambda _, inputs, half=half: seen[half].add(inputs[0].dtype)
                )
        found.append(gradients(made))
        casts = [m.cast_input_dtype_enabled for m in made.model.modules() if hasattr(m, "lora_A")]
        assert all(casts), "an evaluation has no autocast, and wants them"
    assert seen == {False: {torch.float32}, True: {torch.bfloat16}}
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("attention", ["sdpa", "eager", "flex_attention"])
def test_a_gpu_gives_a_tree_the_values_of_its_sequences(
    attention: str, base_dir: Path, tmp_path: Path
) -> None:
    made = trainer(qwen3(attention, heads_of=64), base_dir, tmp_path, use_cpu=False)
    assert made.model.device.type == "cuda"
    worst = sharing.settle(made)
    assert worst is not None
    assert worst < 1e-4
