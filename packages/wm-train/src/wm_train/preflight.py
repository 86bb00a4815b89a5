"""What can be known to be wrong before the first step. Finds all of it at once; mends nothing.

Each check takes what it looks at and returns `Finding`s; `Finding.why` is empty where all is well.
"""

from __future__ import annotations

import logging
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from wm_eval.prompting import completion_ids, completion_text, prompt_ids, prompt_text
from wm_eval.rendered import fault
from wm_train import columns, estimate, shapes, sharing
from wm_train.checkpoints import found, total
from wm_train.config import TrainConfig
from wm_train.errors import CheckpointError, WmTrainError
from wm_train.grouping import couples
from wm_train.packing import TASKS
from wm_train.plan import load_of
from wm_train.retention import Retention

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from wm_data import Dataset
    from wm_train.trainer import WatermarkOrpoTrainer

log = logging.getLogger(__name__)

NAMED = 5  # ids that a message names; the rest is counted
ROUND_TRIPS = 200  # examples that are rendered and read back
ROWS_OUT = "; take these rows out of the dataset"
SCARCE = 0.2  # of a task's pairs: a label below it is learnt by never saying it


class PreflightError(WmTrainError):
    """Something that would make the run worthless or end it."""


@dataclass(frozen=True)
class Finding:
    """One check; `why` says what was found and what to do, and is empty if nothing was."""

    check: str
    why: str = ""


def run(
    config: TrainConfig, run_dir: Path, trainer: WatermarkOrpoTrainer, dataset: Dataset
) -> None:
    """Make every check; raises `PreflightError` with one line for all that failed."""
    tokenizer = cast(Any, trainer.processing_class)
    train = dataset.examples("train", ("task", "target", "group"))  # no texts: they fill gigabytes
    test = dataset.examples("test", ("group",))
    pairs = cast(Any, trainer.train_dataset)
    worst = sharing.settle(trainer)
    log.info("shared prompts differ from single sequences by %s", worst)
    failed = [
        finding
        for finding in (
            answers(pairs),
            too_long(pairs, config.data.max_tokens),
            twins(pairs.select(_places(pairs, "watermark")), config.loss.contrast),
            labels(train, config.loss.weights.model_dump()),
            overlap(*(columns.values(split, "group") for split in (train, test))),
            head(trainer.model),
            round_trip(islice(dataset.stream("train"), ROUND_TRIPS), tokenizer),
            arithmetic(config.model.precision),
            *room(config, run_dir, trainer),
        )
        if finding.why
    ]
    if failed:
        raise PreflightError("; ".join(f"{f.check}: {f.why}" for f in failed))


def answers(pairs: Any) -> Finding:
    """An answer of nothing but its end leaves no word to learn, and two equal ones no odds."""
    sides = ("chosen_ids", "rejected_ids")
    shorter = np.minimum(*(columns.lengths(pairs, side) for side in sides))
    empty = _ids(pairs, np.flatnonzero(shorter < 2))
    same = _ids(pairs, columns.equal(pairs, *sides))
    why = [f"{what}: {_named(ids)}" for what, ids in (("empty", empty), ("equal", same)) if ids]
    return Finding("answers", " and ".join(why) + ROWS_OUT if why else "")


def twins(pairs: Iterable[Mapping[str, Any]], contrast: str) -> Finding:
    """A contrast between prompts needs both of them for every written answer."""
    if contrast != "prompts":
        return Finding("twins")
    waiting: dict[int, str] = {}  # ids of written pairs whose twin has not come yet

    def noted() -> Iterator[Mapping[str, Any]]:
        for number, pair in enumerate(pairs):
            if pair["task"] == "watermark":
                waiting[number] = pair["id"]
            yield pair

    # One pair at a time: the answers of 120,000 rows are 5 GB as lists.
    for one, other in couples(noted()):
        del waiting[one], waiting[other]
    alone = list(waiting.values())
    why = f"no pair of the other colour with the same answers for {_named(alone)}"
    return Finding("twins", f"{why}{ROWS_OUT}, or set loss.contrast to answers" if alone else "")


def too_long(pairs: Any, max_tokens: int) -> Finding:
    """A sequence above the limit would leave the memory that the run was planned for."""
    long = _ids(pairs, np.flatnonzero(columns.sequences(pairs) > max_tokens))
    why = f"above data.max_tokens = {max_tokens}: {_named(long)}{ROWS_OUT}" if long else ""
    return Finding("lengths", why)


def labels(examples: Any, weights: Mapping[str, float]) -> Finding:
    """Both tasks are there, and both colours of each."""
    counts = Counter(zip(*(columns.values(examples, n) for n in ("task", "target")), strict=True))
    why: list[str] = []
    for task in TASKS:
        red, blue = counts[task, "red"], counts[task, "blue"]
        if weights[task] and (not red + blue or min(red, blue) < SCARCE * (red + blue)):
            why.append(f"{task} has {red:,} red and {blue:,} blue examples")
    advice = "; build it with wm-data, or set the task's loss.weights to 0" if why else ""
    return Finding("labels", " and ".join(why) + advice)


def overlap(train: Sequence[str], test: Sequence[str]) -> Finding:
    """No prompt group stands on both sides."""
    both = sorted(set(train) & set(test))
    why = f"in training and test: {_named(both)}; split by group, as wm-data build does"
    return Finding("groups", why if both else "")


def head(model: Any) -> Finding:
    """The head is tied where the configuration says so, whether or not an adapter is on it."""
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    tied = bool(model.config.tie_word_embeddings)
    if tied != (inputs.weight is outputs.weight):
        found = "apart" if tied else "one matrix"
        return Finding(
            "head", f"tie_word_embeddings is {tied}, but head and embeddings are {found}"
        )
    return Finding("head")


def round_trip(
    examples: Iterable[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase
) -> Finding:
    """Prompts and answers come back from their ids as they went in, and end where they should."""
    lost: list[str] = []
    for example in examples:
        answer: str = example["chosen"][0]["content"]
        text = prompt_text(tokenizer, example["prompt"])
        ids = completion_ids(tokenizer, answer)
        same = _same(_decode(tokenizer, ids), completion_text(tokenizer, answer))
        whole = not fault(text, example["prompt"])
        back = _same(_decode(tokenizer, prompt_ids(tokenizer, example["prompt"])), text)
        if not (same and whole and back and ids[-1] not in ids[:-1]):
            lost.append(example["id"])
    why = f"the chat template or the tokenizer changes: {_named(lost)}; take another model.base"
    return Finding("template", why if lost else "")


def _same(text: str, other: str) -> bool:
    """Whether two texts differ at most in how characters are composed.

    Qwen's tokenizer makes an e and its accent one character, and the ohm sign an omega (NFC): that
    is how it reads every text, in training as in evaluation, and no letter is lost.
    """
    return unicodedata.normalize("NFC", text) == unicodedata.normalize("NFC", other)


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def arithmetic(precision: str) -> Finding:
    """A GPU without bfloat16 emulates it: it trains, slower than in float32."""
    import torch

    lacks = torch.cuda.is_available() and not torch.cuda.is_bf16_supported(False)
    name = torch.cuda.get_device_name() if lacks else ""
    why = f"{name} has no bfloat16; set model.precision to float32"
    return Finding("precision", why if precision == "bfloat16" and lacks else "")


def room(config: TrainConfig, run_dir: Path, trainer: WatermarkOrpoTrainer) -> list[Finding]:
    """The disk holds the checkpoints and the result, and the device holds a step."""
    import torch

    shape = shapes.measured(trainer.model)
    size = config.optim.batch_size
    load, _ = load_of(trainer.packing, size, cast(Any, trainer.train_dataset).select(range(size)))
    devices, kind = trainer.accelerator.num_processes, trainer.accelerator.device.type
    parts = estimate.memory(config, shape, load, devices, kind)
    step = estimate.peak(parts) - parts["weights"]  # which are in memory by now
    each = estimate.checkpoint_gib(shape)
    has_best = config.early_stop.metric is not None
    disk = (config.checkpoint.keep + 1 + has_best) * each
    if (most := config.checkpoint.max_bytes) is not None:
        disk = min(disk, most / estimate.GIB)
    disk -= sum(map(total, found(run_dir / "checkpoints"))) / estimate.GIB  # of a run that goes on
    on_host = estimate.host_gib(config, shape) if torch.cuda.is_available() else 0.0
    return [
        budget(config.checkpoint.max_bytes, int(each * estimate.GIB), has_best),
        enough("disk", disk, shutil.disk_usage(run_dir).free / estimate.GIB, "checkpoint.keep"),
        enough("memory", step, free_memory_gib(), estimate.largest_field(parts)),
        enough("memory of the host", on_host, free_host_gib(), None),
    ]


def budget(max_bytes: int | None, checkpoint_bytes: int, has_best: bool) -> Finding:
    """The checkpoints' budget holds what has to be there while one is written."""
    try:
        Retention(max_bytes=max_bytes, has_best=has_best).check(checkpoint_bytes)
    except CheckpointError as error:
        return Finding("checkpoints", str(error))
    return Finding("checkpoints")


def enough(what: str, needed_gib: float, free_gib: float, field: str | None) -> Finding:
    less = f"lower {field} or make room" if field else "make room"
    why = f"about {needed_gib:.1f} GiB needed, {free_gib:.1f} free; {less}"
    return Finding(what, why if needed_gib > free_gib else "")


def free_memory_gib() -> float:
    """Of the device that is trained on."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what the checks before this one are done with
        return torch.cuda.mem_get_info()[0] / estimate.GIB
    return free_host_gib()


def free_host_gib() -> float:
    known = Path("/proc/meminfo")  # Linux alone; elsewhere this is not checked
    for line in known.read_text("utf-8").splitlines() if known.is_file() else []:
        if line.startswith("MemAvailable:"):  # caches count as free: they give way
            return int(line.split()[1]) * 1024 / estimate.GIB
    return float("inf")


def _places(pairs: Any, task: str) -> NDArray[np.int64]:
    return np.flatnonzero(np.array(columns.values(pairs, "task")) == task)


def _ids(pairs: Any, places: NDArray[np.int64]) -> list[str]:
    return columns.values(pairs.select(places), "id")


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + more
