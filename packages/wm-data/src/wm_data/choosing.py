"""Decides which rows and texts of the opened sources a dataset has. Writes no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wm_data.audit import Measured, audit
from wm_data.bands import Band, cut_bands
from wm_data.mix import check_weights, mix
from wm_data.near import drop_near
from wm_data.progress import tracked
from wm_data.recipe import Recipe, Role, Source, TextSource
from wm_data.repetition import drop_loops
from wm_data.rows import Row, Text, digest
from wm_data.sources import Opened
from wm_data.split import SPLITS, check_left, settle, split
from wm_data.unmarked import Texts, choose_texts


@dataclass(frozen=True)
class Chosen:
    """What a dataset holds, and every row that was read."""

    measured: list[Measured]  # every row that was read
    splits: dict[str, list[Measured]]
    faulty: list[Measured]  # left out, and each named in dropped.jsonl
    unwanted: list[Measured]  # sound, but beyond a weight, a cap or the limit: counted alone
    bands: list[Band]  # of the test split
    texts: Texts


def choose(
    recipe: Recipe,
    opened: Sequence[Opened[Source, Row]],
    unmarked: Sequence[Opened[TextSource, Text]],
    seed: int,
    limit: int | None,
    progress: bool,
    workers: int,
) -> Chosen:
    """Audit the rows, split them, and leave out what the recipe does not want.

    Raises `WmDataError` where a split or a source would be left with nothing.
    """
    # Held-out sources first: of rows that are equal in all else the first one is kept.
    first = sorted(opened, key=lambda item: item.source.role != "heldout")
    rows = tracked(
        (row for source in first for row in source.rows), "reading and auditing rows", progress
    )
    roles: dict[str, Role] = {source.id: source.role for source in recipe.sources}
    measured = settle(list(audit(rows, recipe.audit, workers)), roles, recipe.shares)
    splits, lost = split((item for item in measured if item.kept), roles, recipe.shares)
    faulty = [*(item for item in measured if not item.kept), *lost]
    if recipe.near_duplicates:
        splits, close = drop_near(splits, recipe.near_duplicates, progress)
        faulty += close
    if recipe.repetition:
        splits["train"], loops = drop_loops(splits["train"], recipe.repetition, progress)
        faulty += loops
    splits["train"], unwanted = mix(splits["train"], recipe.sources, seed)
    check_left(splits, [*faulty, *unwanted])
    check_weights(splits["train"], recipe.sources, [*faulty, *unwanted])
    found = tracked((text for item in unmarked for text in item.rows), "texts", progress)
    texts = choose_texts(found, recipe, measured, splits, seed, limit)
    splits, beyond = _within(splits, seed, limit)
    bands = cut_bands(splits["test"], "test", seed, recipe.bands, progress)
    return Chosen(measured, splits, faulty, unwanted + beyond, bands, texts)


def _within(
    splits: dict[str, list[Measured]], seed: int, limit: int | None
) -> tuple[dict[str, list[Measured]], list[Measured]]:
    """Every split in an order drawn from the seed, cut to its part of the limit; and the rest."""
    total = sum(map(len, splits.values()))
    chosen: dict[str, list[Measured]] = {}
    rest: list[Measured] = []
    left = limit or 0
    for name in reversed(SPLITS):  # training comes last and takes what the others leave
        items = sorted(splits[name], key=lambda item: digest(f"{seed}\n{item.row_id}"))
        if limit is not None:
            part = max(1, left if name == "train" else limit * len(items) // total)
            rest += [replace(item, reason="over the limit") for item in items[part:]]
            items = items[:part]
            left -= len(items)
        chosen[name] = items
    return {name: chosen[name] for name in SPLITS}, rest
