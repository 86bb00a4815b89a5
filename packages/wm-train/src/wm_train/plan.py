"""What a run would cost, before anything is downloaded or allocated. Trains nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

import wm_data
from wm_train import base, demo_base, estimate, examples, shapes
from wm_train.attention import FLEX
from wm_train.config import EXAMPLES_A_ROW, TrainConfig
from wm_train.errors import ConfigError
from wm_train.packing import Packing
from wm_train.summary import duration

TYPICAL_PROMPT, TYPICAL_ANSWER, QUESTION = 100, 250, 50  # tokens: the seed datasets' lengths
QWEN3_IDS = 151_643  # ids of its vocabulary without special tokens
STEPS = 20  # packed for the means
FULL = 0.9  # of a device's memory; kernels and fragmentation take the rest


@dataclass(frozen=True)
class Device:
    """Memory in GiB and dense bfloat16 peak in 1e12 operations a second, from the data sheet."""

    gib: float
    tflops: float


DEVICES = {
    "rtx-4090": Device(24, 165),
    "a100-80gb": Device(80, 312),
    "h100": Device(80, 989),
    "h200": Device(141, 989),
}


@dataclass(frozen=True)
class Counts:
    """Tokenised pairs to plan with, and what is known of the whole dataset."""

    examples: Sequence[Mapping[str, Any]]
    pairs: int
    too_long: int  # rows that would be left out
    longest: int  # tokens of a sequence
    source: str


@dataclass(frozen=True)
class Plan:
    """Figures of one preset; tokens are counted, memory and computing are estimated."""

    shape: shapes.Shape
    counts: Counts
    steps_an_epoch: int
    steps: int
    load: estimate.Load  # of one step
    unshared: float  # tokens of one step, each sequence by itself
    memory: dict[str, float]  # GiB on one device, by part
    flops: float  # of one step
    checkpoint_gib: float


def make(config: TrainConfig, rows: int = 10_000, devices: int = 1) -> Plan:
    """The plan of `config`; for a dataset that is not on this machine, of `rows` typical rows."""
    shape = shapes.of(config.model)
    counts = _count(config, rows)
    load, unshared = load_of(config, counts.examples)
    epoch = counts.pairs // config.optim.batch_size
    return Plan(
        shape=shape,
        counts=counts,
        steps_an_epoch=epoch,
        steps=config.optim.steps or math.ceil(config.optim.epochs * epoch),
        load=load,
        unshared=unshared,
        memory=estimate.memory(config, shape, load, devices),
        flops=estimate.flops(config, shape, load),
        checkpoint_gib=estimate.checkpoint_gib(shape),
    )


# --------------------------------------------------------------------------------------------- data
def _count(config: TrainConfig, rows: int) -> Counts:
    """Counts of the dataset itself if it is here or can be made here, else of typical rows."""
    data = config.data
    if data.path is not None:
        return _of_folder(config, data.path, f"dataset {data.path}")
    assert data.recipe is not None
    if any(source.hub for source in wm_data.load_recipe(data.recipe).sources):
        return typical(rows, config.optim.batch_size, data.recipe)
    with TemporaryDirectory() as name:
        folder = Path(name) / "data"
        wm_data.build(data.recipe, folder, data.seed, data.limit, progress=False)
        return _of_folder(config, folder, f"recipe {data.recipe}, built for this plan")


def _of_folder(config: TrainConfig, folder: Path, source: str) -> Counts:
    split = wm_data.read(folder).examples("train")
    tokenizer, note = _tokenizer(config.model.base)
    pairs = examples.tokenize(split, tokenizer, config.data.max_tokens)
    found = cast(Any, pairs.data)
    return Counts(found, len(found), len(pairs.too_long), pairs.longest, source + note)


def _tokenizer(name: str) -> tuple[Any, str]:
    """The base's tokenizer, or Qwen3's vocabulary from wm-score, and what to say about it."""
    from transformers import AutoTokenizer

    if name == base.DEMO:
        return demo_base.demo_tokenizer(), ""
    if (Path(name) / "tokenizer_config.json").is_file():
        return cast(Any, AutoTokenizer).from_pretrained(name), ""
    return demo_base.demo_tokenizer(QWEN3_IDS), ", in Qwen3's tokens"


def typical(rows: int, batch_size: int, recipe: str) -> Counts:
    """Rows of the seed datasets' lengths in arbitrary ids: enough of them for one step."""
    ids = count(start=1)

    def piece(tokens: int) -> list[int]:
        return [next(ids) for _ in range(tokens)]

    out: list[Mapping[str, Any]] = []
    for row in range(math.ceil(batch_size / EXAMPLES_A_ROW)):
        answers = [piece(TYPICAL_ANSWER), piece(TYPICAL_ANSWER)]
        for chosen, rejected in (answers, answers[::-1]):
            out.append(_pair(row, "watermark", piece(TYPICAL_PROMPT), chosen, rejected))
        for answer in answers:
            text = piece(QUESTION // 2) + answer
            ends = [piece(QUESTION // 2) for _ in range(2)]  # both orders
            out += [_pair(row, "detect", text + end, piece(2), piece(2)) for end in ends]
    longest = max(TYPICAL_PROMPT + TYPICAL_ANSWER, QUESTION + TYPICAL_ANSWER + 2)
    source = f"{rows:,} rows of typical length: recipe {recipe} is not on this machine"
    return Counts(out, rows * EXAMPLES_A_ROW, 0, longest, source)


def _pair(row: int, task: str, prompt: list[int], chosen: list[int], rejected: list[int]) -> Any:
    ids = {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
    return {"row_id": str(row), "task": task, **ids}


def load_of(config: TrainConfig, found: Sequence[Mapping[str, Any]]) -> tuple[estimate.Load, float]:
    """Means over a few steps' packs, and the tokens that single sequences would have had."""
    size, full = config.optim.batch_size, config.loss.nll_scope == "full"
    twins = config.loss.contrast == "prompts"
    packing = Packing(
        config.optim.pack_tokens,
        0,
        full,
        config.optim.share_prefixes,
        whole_row=config.model.attention == FLEX,
        twins=twins,
    )
    first = list(islice(found, STEPS * size))
    steps = [first[i : i + size] for i in range(0, len(first) - size + 1, size)]
    packs = [pack for step in steps or [first] for pack in packing.packs(step)]
    number = max(1, len(steps))
    tokens = sum(pack.ids.numel() for pack in packs)
    load = estimate.Load(
        tokens=tokens / number,
        predicted=sum(len(pack.targets) for pack in packs) / number,
        longest=max(pack.ids.shape[1] for pack in packs),
        sequence=max(_sequence(pair) for pair in first),
        mean_context=sum(int(pack.positions.sum()) for pack in packs) / tokens,
    )
    return load, sum(pack.unshared_tokens for pack in packs) / number


def _sequence(pair: Mapping[str, Any]) -> int:
    return len(pair["prompt_ids"]) + max(len(pair["chosen_ids"]), len(pair["rejected_ids"]))


# -------------------------------------------------------------------------------------------- table
def table(plan: Plan, devices: int, device: str | None, mfu: float) -> RenderableType:
    """The plan as it is printed; time and fit only where a device is named."""
    shape, counts, load = plan.shape, plan.counts, plan.load
    out = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=False)
    out.add_column(style="bold")
    out.add_column(justify="right")
    out.add_column(style="dim")
    share = 100 * shape.trainable / shape.parameters
    lines: list[tuple[str, str, str]] = [
        ("parameters", f"{shape.parameters:,}", f"{shape.embeddings:,} in embeddings and head"),
        ("trained", f"{shape.trainable:,}", f"{share:.2f} % of them, in number"),
        ("pairs", f"{counts.pairs:,}", counts.source),
        ("rows left out", f"{counts.too_long:,}", "longer than data.max_tokens"),
        ("longest sequence", f"{counts.longest:,}", "tokens"),
        ("steps", f"{plan.steps:,}", f"{plan.steps_an_epoch:,} an epoch"),
        ("tokens a step", f"{load.tokens:,.0f}", f"{plan.unshared:,.0f} without sharing prompts"),
        ("tokens an epoch", f"{load.tokens * plan.steps_an_epoch:,.0f}", "computed"),
        ("logits a step", f"{load.predicted:,.0f}", "tokens that go through the head"),
        ("checkpoint", f"{plan.checkpoint_gib:.2f} GiB", "each, on the disk"),
    ]
    lines += [(f"memory: {part}", f"{gib:.2f} GiB", "") for part, gib in plan.memory.items()]
    total = estimate.peak(plan.memory)
    lines.append(("memory in all", f"{total:.1f} GiB", "an estimate, on each device"))
    lines += _on(plan, devices, device, mfu, total)
    for line in lines:
        out.add_row(*line)
    return out


def check_device(device: str | None) -> None:
    """Raise `ConfigError` for a device that no figures are known of."""
    if device is not None and device not in DEVICES:
        raise ConfigError(f"--device {device!r} is not known; there are: {', '.join(DEVICES)}")


def _on(
    plan: Plan, devices: int, device: str | None, mfu: float, total: float
) -> list[tuple[str, str, str]]:
    if device is None:
        peak = f"{plan.flops * plan.steps:.2e}"
        return [("operations in all", peak, "give --device for a time")]
    one = DEVICES[device]
    seconds = plan.flops / (devices * one.tflops * 1e12 * mfu)
    room = "fits" if total < FULL * one.gib else "does NOT fit"
    where = f"on {devices} x {device} at an MFU of {mfu:.0%}"
    return [
        ("time", duration(seconds * plan.steps), f"{seconds:.2f} s a step {where}, no evaluation"),
        ("device", room, f"{one.gib:.0f} GiB, of which {1 - FULL:.0%} are left for kernels"),
    ]
