"""Builds a dataset folder from a recipe, step by step. Each step is a module of its own."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import wm_score
from wm_data import record
from wm_data.card import render_card
from wm_data.choosing import choose
from wm_data.dataset import is_dataset
from wm_data.examples import template_ids
from wm_data.folder import write
from wm_data.placing import place_sources
from wm_data.recipe import Recipe, load_recipe
from wm_data.sources import open_source, open_texts
from wm_data.split import SPLITS
from wm_data.store import file_refs, staged
from wm_data.values import OnBadRow
from wm_manifest import DatasetManifest, save

CODEBOOK = f"{wm_score.CODEBOOK} {wm_score.COUNTED_SHA256}"
PACKAGES = ("wm-data", "wm-score", "wm-prompts", "pyarrow")  # whose versions decide the bytes


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
        chosen = choose(recipe, opened, unmarked, seed, limit, progress, workers)
        names = write(folder, chosen, seed, progress)
        manifest = DatasetManifest(
            name=recipe.name,
            recipe=record.resolved(record.pinned(recipe, [*opened, *unmarked])),
            seed=seed,
            limit=limit,
            on_bad_row=on_bad_row,
            codebook=CODEBOOK,
            sources=record.source_refs(opened, chosen.measured, chosen.splits),
            splits={name: record.split_counts(chosen.splits[name]) for name in SPLITS},
            dropped=record.drop_counts([*chosen.faulty, *chosen.unwanted]),
            bands=record.band_counts(chosen.bands),
            unmarked=record.unmarked_counts(unmarked, chosen.texts),
            checks=record.checks(recipe, chosen.splits),
            templates=record.template_refs(template_ids()),
            packages={name: version(name) for name in PACKAGES},
            files=file_refs(folder, names),
        )
        (folder / "README.md").write_text(render_card(manifest), encoding="utf-8", newline="\n")
        files = [*manifest.files, *file_refs(folder, ["README.md"])]
        manifest = manifest.model_copy(update={"files": files})
        save(manifest, folder / "manifest.json")
    return manifest
