"""A plan's counts are exact where they can be; its estimates are held to what is really kept."""

import re
from collections.abc import Callable
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

import wm_data
from wm_train import estimate, examples, kept_pairs, plan, plan_table, presets, shapes
from wm_train.config import ModelConfig, TrainConfig


@pytest.mark.parametrize(
    ("name", "all_in_all", "without_embeddings"),
    [  # in billions, as the model cards say
        ("Qwen/Qwen3-0.6B", 0.6, 0.44),
        ("Qwen/Qwen3-1.7B", 1.7, 1.4),
        ("Qwen/Qwen3-4B", 4.0, 3.6),
        ("Qwen/Qwen3-8B", 8.2, 6.95),
        ("Qwen/Qwen3-14B", 14.8, 13.2),
    ],
)
def test_parameters_are_the_model_cards(
    name: str, all_in_all: float, without_embeddings: float
) -> None:
    shape = shapes.of(ModelConfig(base=name))
    assert shape.parameters / 1e9 == pytest.approx(all_in_all, rel=0.02)
    assert shape.body / 1e9 == pytest.approx(without_embeddings, rel=0.02)


@pytest.mark.parametrize("targets", ["all-linear", "all-linear,lm_head"])
def test_a_head_under_an_adapter_is_computed_again_backwards(targets: str) -> None:
    """Its logits twice and the slope's product: 6 operations a weight; a frozen one 4."""
    fields = presets.load("qwen3-0.6b")
    fields["model"]["lora"]["targets"] = targets
    fields["model"]["gradient_checkpointing"] = False
    config = TrainConfig.model_validate(fields)
    shape = shapes.of(config.model)
    assert shape.adapted_head == targets.endswith("lm_head")
    load = estimate.Load(
        tokens=1000, predicted=300, longest=100, sequence=100, prompt=40, mean_context=50
    )
    more = estimate.flops(config, shape, load) - estimate.flops(config, shape, load, False)
    weights = shape.config.vocab_size * shape.config.hidden_size
    assert more == (2 * 300 * weights if shape.adapted_head else 0)


SIZE: dict[str, Any] = dict(
    vocab_size=100, hidden_size=256, intermediate_size=768, num_hidden_layers=2,
    num_attention_heads=8, num_key_value_heads=4, head_dim=32,
)  # fmt: skip


def in_four_bits(model: Any, half: bool) -> None:
    """The body's linear layers as bitsandbytes', which compute in one type whatever comes in."""
    from bitsandbytes.nn import Linear4bit

    for name, layer in list(model.model.named_modules()):
        if type(layer) is torch.nn.Linear:
            packed = Linear4bit(
                *(layer.in_features, layer.out_features, False),
                compute_dtype=torch.bfloat16 if half else torch.float32,
                quant_type="nf4",
            )
            packed.load_state_dict(layer.state_dict())
            parent, _, leaf = name.rpartition(".")
            setattr(model.model.get_submodule(parent), leaf, packed.to("cpu"))


@pytest.mark.parametrize(
    ("kind", "half"),
    [(kind, half) for kind in ("full", "lora", "four bits") for half in (False, True)],
)
@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_activations_are_what_autograd_keeps(family: str, kind: str, half: bool) -> None:
    from peft import LoraConfig, get_peft_model
    from trl.experimental.utils import peft_module_casting_to_bf16

    model: Any = (
        Qwen3ForCausalLM(Qwen3Config(**SIZE))
        if family == "qwen3"
        else LlamaForCausalLM(LlamaConfig(**SIZE))
    )
    lora, four_bit = kind != "full", kind == "four bits"
    if four_bit:
        in_four_bits(model, half)
    if lora:
        model = model.bfloat16() if half and not four_bit else model
        model = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear"))
    if four_bit and half:
        peft_module_casting_to_bf16(model)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor
        return tensor

    tokens = 256
    mask = torch.ones(1, 1, tokens, tokens, dtype=torch.bool).tril()
    body = (model.base_model.model if lora else model).model
    inputs: list[int] = []  # bytes an element, of each layer's
    for layer in body.layers:
        layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0].element_size()))
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=half):
        body(input_ids=torch.randint(0, 100, (1, tokens)), attention_mask=mask, use_cache=False)
    found = sum(t.untyped_storage().nbytes() for t in kept.values()) / tokens / 2
    width = estimate.BFLOAT16 if half else estimate.FLOAT32
    shape = shapes.measured(model)
    expected = estimate.layer_activations(shape, width, lora, four_bit)
    assert expected == pytest.approx(found, rel=0.2)
    fields = presets.load("qwen3-0.6b")
    fields["model"] |= {"precision": "bfloat16" if half else "float32", "four_bit": four_bit}
    fields["model"] |= {} if lora else {"lora": None}
    config = TrainConfig.model_validate(fields)
    again = estimate.activations(config, shape, width) - expected  # what recomputing keeps
    assert again / shape.layers / shape.config.hidden_size == max(inputs)


@pytest.mark.parametrize(("device", "tokens", "base"), [("cuda", 2048, 2), ("cpu", 256, 4)])
def test_a_cpu_has_smaller_products_of_the_head_and_a_wider_base(
    device: str, tokens: int, base: int
) -> None:
    fields = presets.load("qwen3-0.6b")
    fields["model"]["base"] = "demo"
    config = TrainConfig.model_validate(fields)
    made = plan.make(config, device=None if device == "cpu" else "h100")
    width, vocab = estimate.BFLOAT16, made.shape.config.vocab_size
    assert made.memory["logits"] * estimate.GIB == tokens * vocab * (2 * estimate.FLOAT32 + width)
    frozen = made.memory["weights"] * estimate.GIB - estimate.FLOAT32 * made.shape.trainable
    assert frozen == pytest.approx(base * made.shape.parameters)


SHIPPED = [name for name in presets.names() if name.startswith("qwen3")]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_preset_fits_the_memory_it_names(name: str) -> None:
    text = (resources.files("wm_train") / "presets" / f"{name}.yaml").read_text("utf-8")
    gib = int(re.search(r"(\d+) GB", text)[1]) * 1e9 / 2**30
    devices = 8 if name.endswith("-full") else 1
    made = plan.make(TrainConfig.model_validate(presets.load(name)), devices=devices)
    assert estimate.peak(made.memory) < plan_table.FULL * gib


def test_sharing_halves_the_tokens_of_typical_rows() -> None:
    made = plan.make(TrainConfig.model_validate(presets.load("qwen3-0.6b")))
    assert made.load.tokens < 0.55 * made.unshared
    assert made.steps == 60_000 // 48


def printed(
    plan_of: plan.Plan, config: TrainConfig, mfu: float | None = None, devices: int = 1
) -> str:
    console = Console(width=140, record=True, file=StringIO())
    console.print(plan_table.table(plan_of, config, devices, "h100", mfu))
    return console.export_text()


def test_a_plan_of_a_model_in_parts_says_that_one_device_cannot_run_it() -> None:
    config = TrainConfig.model_validate(presets.load("qwen3-8b-full"))
    assert re.search("can be run +NO +not on one device", printed(plan.make(config), config))
    text = printed(plan.make(config, devices=8), config, devices=8)
    assert "can be run" not in text
    assert re.search("host's memory +30.5 GiB +to gather a checkpoint", text)  # 8.2e9 in float32


def test_devices_share_the_weights_of_a_model_in_parts_alone() -> None:
    fields = presets.load("qwen3-8b-full")
    config = TrainConfig.model_validate(fields)
    one, eight = plan.make(config).memory, plan.make(config, devices=8).memory
    for part in ("weights", "gradients", "optimizer"):
        assert eight[part] == pytest.approx(one[part] / 8)
    for part in (estimate.WHOLE, estimate.GATHERED):
        assert eight[part] == one[part] > 0
    fields["model"]["sharded"] = False
    config = TrainConfig.model_validate(fields)
    assert plan.make(config, devices=8).memory == plan.make(config).memory


def test_a_time_is_of_what_the_model_needs() -> None:
    """An MFU leaves out what is computed twice, so recomputing makes no step longer at the same."""
    fields = presets.load("qwen3-0.6b")
    config = TrainConfig.model_validate(fields)
    fields["model"]["gradient_checkpointing"] = False
    kept = TrainConfig.model_validate(fields)
    again, once = plan.make(config), plan.make(kept)
    assert again.flops > once.flops
    assert again.needed == once.needed
    seconds = once.needed / (0.05 * 989e12)
    assert f"{seconds:.2f} s a step on 1 x h100 at an MFU of 5%" in printed(again, config)
    assert f"{seconds / 2:.2f} s a step on 1 x h100 at an MFU of 10%" in printed(once, kept, 0.1)


@pytest.mark.parametrize(
    ("limits", "line"),
    [
        ({}, "3,300 +1,500 before and after, 300 every 1,000 steps, once"),
        ({"every": 250}, "4,200 +1,500 before and after, 300 every 250 steps, 4 times"),
        ({"every": 1_250}, "3,000 +1,500 before and after, none between"),
        (
            {"full_limit": None, "limit": None},
            " +3 a test row before and after, 3 a test row every 1,000 steps, once",
        ),
    ],
)
def test_a_plan_says_how_much_is_written_to_be_evaluated(limits: dict[str, Any], line: str) -> None:
    """On as many rows as the seed datasets have it is as much time as the steps."""
    fields = presets.load("qwen3-0.6b")  # of 10,000 rows: 1,250 steps
    fields["evaluation"] |= limits
    config = TrainConfig.model_validate(fields)
    assert re.search(f"answers written +{line}", printed(plan.make(config), config))


def test_a_plan_says_what_tokenised_pairs_take_of_the_disk(
    tiny: Callable[..., TrainConfig], dataset_dir: Path, base_dir: Path, tmp_path: Path
) -> None:
    split = wm_data.read(dataset_dir).stream("train")
    path = tmp_path / kept_pairs.FILE
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    ids = examples.tokenize(split, tokenizer, 512, path=path).data
    made = plan.make(tiny())
    assert made.counts.pairs_gib * estimate.GIB == path.stat().st_size
    of_ids = plan._ids(list(ids))
    assert of_ids < path.stat().st_size / plan.ID_BYTES
    rest = path.stat().st_size - plan.ID_BYTES * of_ids
    assert rest / len(ids) == pytest.approx(plan.PAIR_BYTES, rel=0.2)
    assert isinstance(made.counts.examples, list)
    assert len(made.counts.examples) == plan.STEPS * 6


def test_a_plan_of_typical_rows_counts_them_too() -> None:
    """Six pairs of two answers of 250 tokens, and four of them in a prompt as well."""
    counts = plan.typical(120_000, 48, "mix", neutral_share=1.0)
    assert counts.pairs_gib == pytest.approx(120_000 * 4 * 2400 / estimate.GIB, rel=0.2)


def test_a_plans_parts_are_more_than_what_is_needed_at_once() -> None:
    """And it says why: the sum of the lines above would be a wrong figure."""
    config = TrainConfig.model_validate(presets.load("qwen3-0.6b"))
    made = plan.make(config)
    assert sum(made.memory.values()) > estimate.peak(made.memory) + 1
    assert "a step's or an evaluation's, not both" in printed(made, config)


def test_the_cache_of_answers_is_as_long_as_they_may_be() -> None:
    fields = presets.load("qwen3-0.6b")
    open_ended = plan.make(TrainConfig.model_validate(fields)).memory[estimate.EVALUATION]
    fields["evaluation"]["max_new_tokens"] = 512
    short = plan.make(TrainConfig.model_validate(fields)).memory[estimate.EVALUATION]
    assert open_ended / short == pytest.approx((100 + 1024) / (100 + 512))
