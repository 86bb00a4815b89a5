"""Reads a dataset folder and chooses what a model is asked. Asks nothing, builds no dataset.

The same folder, split, limit and seed give the same items in the same order, whoever asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wm_prompts
from wm_eval.errors import WmEvalError
from wm_eval.question import (
    ARMS,
    COLOURS,
    COLUMNS,
    HELD_OUT,
    Dataset,
    Item,
    both_orders,
    detect_item,
    seed_of,
)
from wm_eval.tables import table
from wm_eval.texts import read_bands, read_unmarked
from wm_manifest import DatasetManifest, ManifestError, load

__all__ = ["ARMS", "COLOURS", "HELD_OUT", "Dataset", "Item", "read", "seed_of"]

MANIFEST = "manifest.json"
SEED_COLUMNS = ("row_id", "group", "prompt", "red_answer", "blue_answer")


def read(path: str | Path, split: str = "test", limit: int | None = None, seed: int = 0) -> Dataset:
    """Read `split` and choose items: `limit` prompts (each asked in three arms) and `limit` texts.

    Prompts come one for each group, in an order drawn from `seed`; texts come from as many groups
    as there are before any group gives a second row.
    """
    folder = Path(path)
    manifest = described(folder, split, limit)
    check_files(folder, manifest, split)
    examples = table(folder / "data" / f"{split}-00000-of-00001.parquet", COLUMNS, ["source"])
    seeds = table(folder / "seeds" / f"{split}.parquet", SEED_COLUMNS)
    if not seeds:
        raise WmEvalError(
            f"{folder}: the split {split!r} has no rows; take another split, or build the dataset "
            "with a share for it"
        )
    gold = {
        (str(row["row_id"]), colour): str(row[f"{colour}_answer"])
        for row in seeds
        for colour in COLOURS
    }
    order = _rows_in_order(seeds, seed)
    return Dataset(
        path=folder,
        manifest=manifest,
        sha256=hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest(),
        split=split,
        watermark=_watermark(examples, seeds, order, limit),
        detect=_detect(examples, gold, order, limit, folder / "data"),
        gold=gold,
        bands=read_bands(folder, split, [row for _, row in order], limit),
        unmarked=read_unmarked(folder),
    )


def described(folder: Path, split: str, limit: int | None) -> DatasetManifest:
    """The manifest of a dataset that can be asked so. Reads no row."""
    try:
        manifest = load(DatasetManifest, folder / MANIFEST)
    except ManifestError as error:
        raise WmEvalError(_no_dataset(folder, error)) from error
    if limit is not None and limit < 1:
        raise WmEvalError(f"limit is {limit}; give a number of at least 1, or none for all items")
    if split not in manifest.splits:
        known = ", ".join(sorted(manifest.splits))
        raise WmEvalError(f"{folder} has no split {split!r}; it has: {known}")
    return manifest


def _no_dataset(folder: Path, error: ManifestError) -> str:
    """Why the folder is none; where it may be a name of the hub, how to get that dataset."""
    name = folder.as_posix()
    if (folder / "dataset" / MANIFEST).is_file():
        return f"{folder} is a run's folder; give --data {folder / 'dataset'}"
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        return f"{folder} is no dataset folder: {error}"
    return (
        f"--data takes a dataset folder, and there is no folder {name}; build one with wm-data, or "
        f"get one of the hub with `hf download --repo-type dataset {name} --local-dir DIR`"
    )


def check_files(folder: Path, manifest: DatasetManifest, split: str) -> None:
    """Raise `WmEvalError` where a file that is read here is not the one that the manifest lists.

    A report names a dataset by its manifest: with other rows under it two would be compared as one,
    and without its bands or unmarked texts a report would have no word of them. The training
    split's prompts are read to see that none of them is asked here.
    """
    read_here = {
        f"data/{split}-00000-of-00001.parquet",
        *(f"seeds/{split}.parquet", "seeds/train.parquet"),
        *(f"bands/{split}.parquet", "none/texts.parquet"),
    }
    for ref in manifest.files:
        path = folder / ref.path
        if ref.path not in read_here:
            continue
        if not path.is_file():
            raise WmEvalError(f"{path} is missing; the dataset folder is not whole, build it again")
        if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != ref.sha256:
            raise WmEvalError(
                f"{path} is not as the dataset was built (its SHA-256 begins {found[:12]}, in the "
                f"manifest {ref.sha256[:12]}); build it again"
            )


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
        both_orders(pair, f"{where}: row {row_id}, {colour} text")
        items += [
            detect_item(f"detect/{row_id}/{colour}", example, gold[row_id, colour])
            for example in pair
        ]
    return items
