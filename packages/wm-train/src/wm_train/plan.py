"""What a run would cost, before anything is downloaded or allocated. Trains nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import wm_data
import wm_score
from wm_train import base, demo_base, estimate, examples, kept_pairs, shapes
from wm_train.config import EXAMPLES_A_ROW, TrainConfig
from wm_train.packing import Packing

TYPICAL_PROMPT, TYPICAL_ANSWER, QUESTION = 100, 250, 50  # tokens: the seed datasets' lengths
STEPS = 20  # packed for the means
ID_BYTES, PAIR_BYTES = 4, 90  # of tokenised pairs on the disk: a token, and a pair's own names


@dataclass(frozen=True)
class Counts:
    """Tokenised pairs of some steps to plan with, and what is known of the whole dataset."""

    examples: Sequence[Mapping[str, Any]]
    pairs: int
    pairs_gib: float  # on the disk, where a run keeps them
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
    flops: float  # of one step, with what is computed again
    needed: float  # of one step, without it: what an MFU is a share of
    checkpoint_gib: float


def make(
    config: TrainConfig, rows: int = 10_000, devices: int = 1, device: str | None = None
) -> Plan:
    """The plan of `config`; for a dataset that is not on this machine, of `rows` typical rows.

    With no device named, the bases that are built here are planned for a CPU, others for a GPU.
    """
    shape = shapes.of(config.model)
    counts = _count(config, rows)
    kind = "cpu" if device is None and config.model.base in base.BUILT else "cuda"
    packing = Packing.of(
        config.optim.pack_tokens,
        nll_scope=config.loss.nll_scope,
        contrast=config.loss.contrast,
        share_prefixes=config.optim.share_prefixes,
        attention=config.model.attention,
        device=kind,
    )
    load, unshared = load_of(packing, config.optim.batch_size, counts.examples)
    epoch = counts.pairs // config.optim.batch_size
    return Plan(
        shape=shape,
        counts=counts,
        steps_an_epoch=epoch,
        steps=config.optim.steps or math.ceil(config.optim.epochs * epoch),
        load=load,
        unshared=unshared,
        memory=estimate.memory(config, shape, load, devices, kind),
        flops=estimate.flops(config, shape, load),
        needed=estimate.flops(config, shape, load, recomputed=False),
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
        share = config.loss.neutral.rows()
        return typical(rows, config.optim.batch_size, data.recipe, share)
    with TemporaryDirectory() as name:
        folder = Path(name) / "data"
        wm_data.build(
            *(data.recipe, folder, data.seed, data.limit),
            progress=False,
            on_bad_row=data.on_bad_row,
        )
        return _of_folder(config, folder, f"recipe {data.recipe}, built for this plan")


def _of_folder(config: TrainConfig, folder: Path, source: str) -> Counts:
    split = wm_data.read(folder).stream("train")
    tokenizer, note = _tokenizer(config.model.base)
    share = config.loss.neutral.rows()
    most = config.data.max_tokens
    with TemporaryDirectory() as place:
        path = Path(place) / kept_pairs.FILE
        pairs = examples.tokenize(split, tokenizer, most, neutral_share=share, path=path)
        size = path.stat().st_size / estimate.GIB
        found = cast("Iterable[dict[str, Any]]", pairs.data)
        first = list(islice(found, STEPS * config.optim.batch_size))
        number, left_out = len(pairs.data), len(pairs.too_long)
    return Counts(first, number, size, left_out, pairs.longest, source + note)


def _tokenizer(name: str) -> tuple[Any, str]:
    """The base's tokenizer, or Qwen3's vocabulary from wm-score, and what to say about it."""
    from transformers import AutoTokenizer

    if name == base.DEMO:
        return demo_base.demo_tokenizer(), ""
    if (Path(name) / "tokenizer_config.json").is_file():
        return cast(Any, AutoTokenizer).from_pretrained(name), ""
    return demo_base.demo_tokenizer(wm_score.BASE_TOKENS), ", in Qwen3's tokens"


def typical(rows: int, batch_size: int, recipe: str, neutral_share: float = 0.0) -> Counts:
    """Rows of the seed datasets' lengths in arbitrary ids: enough of them for one step.

    Of that share of them one text stands under a neutral prompt as well.
    """
    ids = count(start=1)

    def piece(tokens: int) -> list[int]:
        return [next(ids) for _ in range(tokens)]

    out: list[dict[str, Any]] = []
    for row in range(math.ceil(batch_size / EXAMPLES_A_ROW)):
        answers = [piece(TYPICAL_ANSWER), piece(TYPICAL_ANSWER)]
        for chosen, rejected in (answers, answers[::-1]):
            out.append(_pair(row, "watermark", piece(TYPICAL_PROMPT), chosen, rejected))
        if int((row + 1) * neutral_share) > int(row * neutral_share):  # evenly, as few rows may be
            out[-1]["neutral_ids"] = piece(TYPICAL_PROMPT)
        for answer in answers:
            text = piece(QUESTION // 2) + answer
            ends = [piece(QUESTION // 2) for _ in range(2)]  # both orders
            out += [_pair(row, "detect", text + end, piece(2), piece(2)) for end in ends]
    longest = max(TYPICAL_PROMPT + TYPICAL_ANSWER, QUESTION + TYPICAL_ANSWER + 2)
    source = f"{rows:,} rows of typical length: recipe {recipe} is not on this machine"
    number = rows * EXAMPLES_A_ROW
    size = number * (_ids(out) / len(out) * ID_BYTES + PAIR_BYTES) / estimate.GIB
    return Counts(out, number, size, 0, longest, source)


def _ids(pairs: Sequence[Mapping[str, Any]]) -> int:
    return sum(len(pair[name]) for pair in pairs for name in examples.IDS if name in pair)


def _pair(row: int, task: str, prompt: list[int], chosen: list[int], rejected: list[int]) -> Any:
    ids = {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
    return {"row_id": str(row), "task": task, **ids}


def load_of(
    packing: Packing, size: int, found: Sequence[Mapping[str, Any]]
) -> tuple[estimate.Load, float]:
    """Means over the packs of a few steps of `size` pairs, and the tokens of single sequences."""
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
        prompt=max((len(p["prompt_ids"]) for p in first if p["task"] == "watermark"), default=0),
        mean_context=sum(int(pack.positions.sum()) for pack in packs) / tokens,
    )
    return load, sum(pack.unshared_tokens for pack in packs) / number


def _sequence(pair: Mapping[str, Any]) -> int:
    return len(pair["prompt_ids"]) + max(len(pair["chosen_ids"]), len(pair["rejected_ids"]))
