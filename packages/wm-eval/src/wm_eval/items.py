"""Reads a dataset folder and chooses what a model is asked. Asks nothing, builds no dataset.

The same folder, split, limit and seed give the same items in the same order, whoever asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import wm_prompts
from wm_eval.errors import WmEvalError
from wm_manifest import DatasetManifest, ManifestError, load

COLOURS = ("red", "blue")
ARMS = ("red", "blue", "neutral")
COLUMNS = ("row_id", "group", "task", "target", "variant", "order", "prompt", "chosen")
SEED_COLUMNS = ("row_id", "group", "prompt", "red_answer", "blue_answer")
HELD_OUT = "heldout"

Task = Literal["watermark", "detect"]


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

    @property
    def heldout_wording(self) -> bool:
        """Whether the prompt's wording was kept out of training."""
        return self.variant.startswith(HELD_OUT)


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


def read(path: str | Path, split: str = "test", limit: int | None = None, seed: int = 0) -> Dataset:
    """Read `split` and choose items: `limit` prompts (each asked in three arms) and `limit` texts.

    Prompts come one for each group, in an order drawn from `seed`; texts come from as many groups
    as there are before any group gives a second row.
    """
    folder = Path(path)
    location = folder / "manifest.json"
    try:
        manifest = load(DatasetManifest, location)
    except ManifestError as error:
        raise WmEvalError(f"{folder} is no dataset folder: {error}") from error
    if limit is not None and limit < 1:
        raise WmEvalError(f"limit is {limit}; give a number of at least 1, or none for all items")
    if split not in manifest.splits:
        known = ", ".join(sorted(manifest.splits))
        raise WmEvalError(f"{folder} has no split {split!r}; it has: {known}")
    examples = _table(folder / "data" / f"{split}-00000-of-00001.parquet", COLUMNS)
    seeds = _table(folder / "seeds" / f"{split}.parquet", SEED_COLUMNS)
    gold = {
        (str(row["row_id"]), colour): str(row[f"{colour}_answer"])
        for row in seeds
        for colour in COLOURS
    }
    order = _rows_in_order(seeds, seed)
    return Dataset(
        path=folder,
        manifest=manifest,
        sha256=hashlib.sha256(location.read_bytes()).hexdigest(),
        split=split,
        watermark=_watermark(examples, seeds, order, limit),
        detect=_detect(examples, gold, order, limit, folder / "data"),
        gold=gold,
    )


def seed_of(seed: int, id: str) -> int:
    """Seed of one item: its own whatever else is asked. 63 bits, as torch wants it.

    >>> seed_of(0, "a") == seed_of(0, "a") != seed_of(1, "a")
    True
    """
    digest = hashlib.sha256(f"{seed}\0{id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _rows_in_order(seeds: Sequence[Mapping[str, Any]], seed: int) -> list[tuple[int, str]]:
    """(which row of its group, row id): first rows of all groups first, groups shuffled by seed."""
    groups: dict[str, list[str]] = {}
    for row in seeds:
        groups.setdefault(str(row["group"]), []).append(str(row["row_id"]))
    found: list[tuple[int, int, str]] = []
    for group, rows in groups.items():
        rows.sort()
        found.extend((nth, seed_of(seed, group), row) for nth, row in enumerate(rows))
    return [(nth, row) for nth, _, row in sorted(found)]


def _watermark(
    examples: Sequence[Mapping[str, Any]],
    seeds: Sequence[Mapping[str, Any]],
    order: Sequence[tuple[int, str]],
    limit: int | None,
) -> list[Item]:
    """Each group's prompt under the three system prompts, all in the wording of its red example."""
    by_row = {str(row["row_id"]): row for row in seeds}
    variants = {
        str(example["row_id"]): str(example["variant"])
        for example in examples
        if example["task"] == "watermark" and example["target"] == "red"
    }
    items: list[Item] = []
    first = [row for nth, row in order if nth == 0 and row in variants]
    for row_id in first[:limit]:
        row, variant = by_row[row_id], variants[row_id]
        for arm in ARMS:
            system = _system(arm, variant)
            items.append(
                Item(
                    id=f"watermark/{row['group']}/{arm}",
                    task="watermark",
                    group=str(row["group"]),
                    arm=arm,
                    variant=variant,
                    messages=(
                        {"role": "system", "content": system},
                        {"role": "user", "content": str(row["prompt"])},
                    ),
                    expected=arm if arm in COLOURS else None,
                    text=str(row[f"{arm}_answer"]) if arm in COLOURS else "",
                    family=f"watermark/{row['group']}/{arm}",
                )
            )
    return items


def _system(arm: str, variant: str) -> str:
    try:
        return wm_prompts.render(f"watermark/{arm}/{variant}")
    except wm_prompts.PromptError as error:
        raise WmEvalError(
            f"the dataset uses the wording {variant!r}, which the installed wm-prompts lacks "
            f"({error}); install the wm-prompts that the dataset was built with"
        ) from error


def _detect(
    examples: Sequence[Mapping[str, Any]],
    gold: Mapping[tuple[str, str], str],
    order: Sequence[tuple[int, str]],
    limit: int | None,
    where: Path,
) -> list[Item]:
    """The dataset's own detect examples, for the first `limit` texts."""
    asked: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for example in examples:
        if example["task"] == "detect":
            key = (str(example["row_id"]), str(example["target"]))
            asked.setdefault(key, []).append(example)
    texts = [(row, colour) for _, row in order for colour in COLOURS if (row, colour) in asked]
    items: list[Item] = []
    for row_id, colour in texts[:limit]:
        pair = sorted(asked[row_id, colour], key=lambda example: str(example["order"]))
        if [str(example["order"]) for example in pair] != ["blue-red", "red-blue"]:
            raise WmEvalError(
                f"{where}: row {row_id}, {colour} text: detect must be asked in both orders once, "
                f"found {[example['order'] for example in pair]}; build the dataset again"
            )
        for example in pair:
            messages = cast("Sequence[Mapping[str, str]]", example["prompt"])
            items.append(
                Item(
                    id=f"detect/{row_id}/{colour}/{example['order']}",
                    task="detect",
                    group=str(example["group"]),
                    arm=str(example["order"]),
                    variant=str(example["variant"]),
                    messages=tuple(
                        {"role": message["role"], "content": message["content"]}
                        for message in messages
                    ),
                    expected=colour,
                    text=gold[row_id, colour],
                    family=f"detect/{row_id}/{colour}",
                )
            )
    return items


def _table(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a parquet file, the named columns only."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    unreadable = (OSError, cast("type[Exception]", cast(Any, pa).ArrowInvalid))

    if not path.is_file():
        raise WmEvalError(f"{path} is missing; the dataset folder is not whole, build it again")
    try:
        table = cast(Any, pq).read_table(path)
    except unreadable as error:
        raise WmEvalError(f"{path} cannot be read as parquet: {error}") from error
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise WmEvalError(
            f"{path} has no column {missing[0]!r} (it has: {', '.join(table.column_names)}); "
            "was it written by wm-data?"
        )
    return cast("list[dict[str, Any]]", table.select(list(columns)).to_pylist())


def groups_of(folder: Path, split: str) -> set[str]:
    """Prompt groups of one split of a dataset folder."""
    rows = _table(folder / "seeds" / f"{split}.parquet", ("group",))
    return {str(row["group"]) for row in rows}
