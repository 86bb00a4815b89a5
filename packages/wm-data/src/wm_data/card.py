"""The dataset card, from the manifest alone. Its wording stands in card.md."""

from __future__ import annotations

import re
from importlib import resources
from string import Template
from typing import Any, cast

from wm_manifest import DatasetManifest
from wm_score.visible import visible

MARKUP = re.compile(r"[\\`|<\[]")  # what begins something in a table's cell: a name is a text


def render_card(manifest: DatasetManifest) -> str:
    """Fill card.md; its YAML head makes `datasets.load_dataset(folder)` find the splits."""
    template = _text("card.md")
    splits = [
        [name, *(f"{n:,}" for n in (counts.rows, counts.groups, counts.examples)),
         *(f"{counts.by_task[task]:,}" for task in ("watermark", "detect"))]
        for name, counts in manifest.splits.items()
    ]  # fmt: skip
    sources = [
        [item.id, item.kind, item.location, item.revision or "", f"{item.rows_read:,}",
         f"{item.rows_kept:,}"]
        for item in manifest.sources
    ]  # fmt: skip
    kept = manifest.splits.items()
    dropped = [[reason, f"{count:,}"] for reason, count in manifest.dropped.items()]
    files = [f"  - split: {n}\n    path: data/{n}-*.parquet" for n, c in kept if c.rows]
    empty = ", ".join(name for name, counts in kept if not counts.rows)
    return template.substitute(
        data_files="\n".join(files),
        empty=_text("card_empty.md").substitute(splits=empty) if empty else "",
        name=manifest.name,
        codebook=manifest.codebook.split()[0],
        splits=_lines(splits),
        near=_near(manifest),
        sources=_lines(sources),
        dropped="| reason | rows |\n|---|---|\n" + _lines(dropped) if dropped else "None.",
        extras=_extras(manifest),
        seed=manifest.seed,
        limit="" if manifest.limit is None else f", limit {manifest.limit}",
    )


def _near(manifest: DatasetManifest) -> str:
    """What was done about texts of different splits that are alike."""
    looked: Any = manifest.checks.get("near_duplicates")  # what for, or that nobody did
    if isinstance(looked, dict):
        return _text("card_near.md").substitute(cast("dict[str, Any]", looked)).strip()
    return _text("card_not_near.md").substitute().strip()


def _extras(manifest: DatasetManifest) -> str:
    """What stands beside the splits for evaluation; empty where there is nothing."""
    files = {ref.path for ref in manifest.files}
    parts = ""
    if "bands/test.parquet" in files:
        lengths = ", ".join(name for name, band in manifest.bands.items() if band.rows)
        parts += _text("card_bands.md").substitute(lengths=lengths)
    if manifest.unmarked and "none/texts.parquet" in files:
        parts += _text("card_unmarked.md").substitute(
            texts=f"{manifest.unmarked.texts:,}",
            groups=f"{manifest.unmarked.groups:,}",
            sources=", ".join(source.id for source in manifest.unmarked.sources),
        )
    return parts


def _text(name: str) -> Template:
    return Template(resources.files("wm_data").joinpath(name).read_text(encoding="utf-8"))


def _lines(table: list[list[str]]) -> str:
    return "\n".join(
        "| " + " | ".join(MARKUP.sub(r"\\\g<0>", visible(cell)) for cell in row) + " |"
        for row in table
    )
