"""What a model is asked, as records. Reads no file and asks nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from wm_eval.errors import WmEvalError
from wm_manifest import DatasetManifest

COLOURS = ("red", "blue")
ARMS = ("red", "blue", "neutral")
ORDERS = ("blue-red", "red-blue")  # as they are named in ids and arms
COLUMNS = ("row_id", "group", "task", "target", "variant", "order", "prompt", "chosen")
HELD_OUT = "heldout"

Task = Literal["watermark", "detect"]
# seed: of the dataset's split; band: a seed text cut to a length; own: what the model itself wrote;
# base: a prompt of the split, answered by the base model.
Origin = Literal["seed", "band", "own", "base"]


@dataclass(frozen=True)
class Item:
    """One question to the model. Its id and the seed of the evaluation fix its random numbers."""

    id: str
    task: Task
    group: str
    arm: str  # watermark: red, blue, neutral; detect: the order in which colours are named
    variant: str
    messages: tuple[Mapping[str, str], ...]
    expected: str | None  # the colour that is right; None in the neutral arm
    text: str  # detect: the text to be judged; watermark: the gold answer of the arm, or ""
    family: str  # items of one family ask about the same text
    origin: Origin = "seed"
    source: str = ""  # where a seed text comes from, as the dataset has it
    band: int | None = None  # origin band: the text was cut to at most so many counted tokens

    @property
    def heldout_wording(self) -> bool:
        """Whether the prompt's wording was kept out of training."""
        return self.variant.startswith(HELD_OUT)


@dataclass(frozen=True)
class Unmarked:
    """A text that nobody marked: a negative for thresholds and false positives. Asked of nobody."""

    id: str
    group: str
    source: str
    text: str


@dataclass(frozen=True)
class Dataset:
    """What an evaluation needs of a dataset folder."""

    path: Path
    manifest: DatasetManifest
    sha256: str  # of manifest.json
    split: str
    watermark: list[Item]
    detect: list[Item]
    gold: dict[tuple[str, str], str]  # (row id, colour) -> answer, of the whole split
    bands: list[Item] = field(default_factory=lambda: [])  # detect on texts cut to lengths
    unmarked: list[Unmarked] = field(default_factory=lambda: [])


def seed_of(seed: int, id: str) -> int:
    """Seed of one item: its own whatever else is asked. 63 bits, as torch wants it.

    >>> seed_of(0, "a") == seed_of(0, "a") != seed_of(1, "a")
    True
    """
    digest = hashlib.sha256(f"{seed}\0{id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def both_orders(pair: Sequence[Mapping[str, Any]], where: str) -> None:
    """Refuse a text that is not asked in each order once: one order alone hides position bias."""
    orders = [str(example["order"]) for example in pair]
    if sorted(orders) != list(ORDERS):
        raise WmEvalError(
            f"{where}: detect must be asked in both orders once, found {orders}; "
            "build the dataset again"
        )


def detect_item(
    family: str,
    example: Mapping[str, Any],
    text: str,
    origin: Origin = "seed",
    band: int | None = None,
) -> Item:
    """A detect example of the dataset's layout as a question about `text`."""
    messages = cast("Sequence[Mapping[str, str]]", example["prompt"])
    return Item(
        id=f"{family}/{example['order']}",
        task="detect",
        group=str(example["group"]),
        arm=str(example["order"]),
        variant=str(example["variant"]),
        messages=tuple({"role": m["role"], "content": m["content"]} for m in messages),
        expected=str(example["target"]),
        text=text,
        family=family,
        origin=origin,
        source=str(example.get("source") or ""),
        band=band,
    )
