"""Builds a dataset folder from a recipe, step by step. Each step is a module of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import wm_score
from wm_data import record
from wm_data.audit import Measured, audit
from wm_data.bands import Band, cut_bands
from wm_data.card import render_card
from wm_data.dataset import is_dataset
from wm_data.examples import EXAMPLES_PER_ROW, examples, template_ids
from wm_data.mix import check_weights, mix
from wm_data.near import drop_near, near_check
from wm_data.placing import place_sources
from wm_data.progress import tracked
from wm_data.recipe import Recipe, Role, load_recipe
from wm_data.repetition import drop_loops
from wm_data.rows import digest
from wm_data.sources import open_source, open_texts
from wm_data.split import SPLITS, check_left, settle, split
from wm_data.store import file_refs, staged
from wm_data.tables import write_bands, write_examples, write_seeds, write_texts
from wm_data.unmarked import Texts, choose_texts
from wm_data.values import OnBadRow
from wm_manifest import DatasetManifest, save

CODEBOOK = f"{wm_score.CODEBOOK} {wm_score.COUNTED_SHA256}"


def build(
    recipe: Recipe | str | Path,
    out: Path | str,
    seed: int = 0,
    limit: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
    on_bad_row: OnBadRow = "error",
    places: Mapping[str, str] | None = None,
    workers: int = 1,
) -> DatasetManifest:
    """Build the folder `out` and return its manifest; `WmDataError` for what a user can cause.

    `limit` keeps about that many rows, at least one of every split, the same ones every time. The
    folder appears whole or not at all, with the same bytes for the same recipe, sources and seed.
    `places` says where named sources are read from. With more than one of `workers` the rows of a
    long source are judged in as many processes; a script that asks for it needs the guard
    `if __name__ == "__main__"`, and the bytes are the same. Rows that are sound but not wanted
    (weights, caps, limit) are counted in the manifest, and only faulty ones listed in
    dropped.jsonl.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    recipe = place_sources(recipe, places or {})
    with staged(Path(out), is_dataset if overwrite else None) as folder:
        opened = [open_source(source, seed, on_bad_row) for source in recipe.sources]
        # Found now and read later: one that is not there is known before the rows are read.
        unmarked = [open_texts(source, seed, on_bad_row) for source in recipe.unmarked]
        # Held-out sources first: of rows that are equal in all else the first one is kept.
        first = sorted(opened, key=lambda item: item.source.role != "heldout")
        rows = (row for source in first for row in source.rows)
        rows = tracked(rows, "reading and auditing rows", progress)
        roles: dict[str, Role] = {source.id: source.role for source in recipe.sources}
        measured = settle(list(audit(rows, recipe.audit, workers)), roles, recipe.shares)
        splits, lost = split((item for item in measured if item.kept), roles, recipe.shares)
        near = recipe.near_duplicates
        if near:
            splits, close = drop_near(splits, near, progress)
            lost += close
        if recipe.repetition:
            splits["train"], loops = drop_loops(splits["train"], recipe.repetition, progress)
            lost += loops
        splits["train"], left_out = mix(splits["train"], recipe.sources, seed)
        dropped = [item for item in measured if not item.kept] + lost
        check_left(splits, [*dropped, *left_out])
        check_weights(splits["train"], recipe.sources, [*dropped, *left_out])
        found = tracked((text for item in unmarked for text in item.rows), "texts", progress)
        texts = choose_texts(found, recipe, measured, splits, seed, limit)
        splits, beyond = _chosen(splits, seed, limit)
        bands = cut_bands(splits["test"], "test", seed, recipe.bands)
        names = [*_write(folder, splits, seed, progress), _write_dropped(folder, dropped)]
        names += _write_extras(folder, bands, texts)
        manifest = DatasetManifest(
            name=recipe.name,
            recipe=record.resolved(record.pinned(recipe, [*opened, *unmarked])),
            seed=seed,
            limit=limit,
            on_bad_row=on_bad_row,
            codebook=CODEBOOK,
            sources=record.source_refs(opened, measured, splits),
            splits={name: record.split_counts(splits[name]) for name in SPLITS},
            dropped=record.drop_counts([*dropped, *left_out, *beyond]),
            bands=record.band_counts(bands),
            unmarked=record.unmarked_counts(unmarked, texts),
            checks={
                "groups_in_two_splits": record.in_two_splits(splits, lambda item: item.group),
                "subjects_in_two_splits": record.in_two_splits(
                    splits, lambda item: item.row.subject
                ),
                "near_duplicates": near_check(near) if near else "not looked for",
            },
            templates=record.template_refs(template_ids()),
            packages={
                name: version(name) for name in ("wm-data", "wm-score", "wm-prompts", "pyarrow")
            },
            files=file_refs(folder, sorted(names)),
        )
        (folder / "README.md").write_text(render_card(manifest), encoding="utf-8", newline="\n")
        files = [*manifest.files, *file_refs(folder, ["README.md"])]
        manifest = manifest.model_copy(update={"files": files})
        save(manifest, folder / "manifest.json")
    return manifest


def _chosen(
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


def _write(folder: Path, splits: dict[str, list[Measured]], seed: int, progress: bool) -> list[str]:
    """Write examples and seeds of every split; return their names."""
    names: list[str] = []
    for part in ("data", "seeds"):
        (folder / part).mkdir()
    for name, items in splits.items():
        lines = (line for item in items for line in examples(item, name, seed))
        names += [f"data/{name}-00000-of-00001.parquet", f"seeds/{name}.parquet"]
        total = EXAMPLES_PER_ROW * len(items)
        write_examples(folder / names[-2], tracked(lines, f"writing {name}", progress, total))
        write_seeds(folder / names[-1], items)
    return names


def _write_extras(folder: Path, bands: Sequence[Band], texts: Texts) -> list[str]:
    """Write what only an evaluation reads, beside the splits; nothing where there is nothing."""
    names: list[str] = []
    if any(band.rows for band in bands):
        names.append("bands/test.parquet")
        (folder / "bands").mkdir()
        lines = ((*line, band.counted) for band in bands for line in band.lines)
        write_bands(folder / names[-1], lines)
    if texts.kept:
        names.append("none/texts.parquet")
        (folder / "none").mkdir()
        write_texts(folder / names[-1], texts.kept)
    return names


def _write_dropped(folder: Path, dropped: list[Measured]) -> str:
    """One line a dropped row: where it was, why it went, what was measured."""
    with (folder / "dropped.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for item in dropped:
            line = {
                "row_id": item.row_id,
                "source": item.row.source,
                "place": item.row.place,
                "reason": item.reason,
                "red_answer": _shares(item.red),
                "blue_answer": _shares(item.blue),
                "prompt": item.row.prompt,
            }
            file.write(json.dumps(line) + "\n")
    return "dropped.jsonl"


def _shares(score: wm_score.Score) -> dict[str, float | int | str]:
    return {
        "red_share": round(score.red_share, 4),
        "blue_share": round(score.blue_share, 4),
        "counted": score.counted,
        "verdict": score.verdict,
    }
