"""The dataset card, from the manifest alone. Its wording stands in card.md."""

from __future__ import annotations

from importlib import resources
from string import Template

from wm_manifest import DatasetManifest


def render_card(manifest: DatasetManifest) -> str:
    """Fill card.md; its YAML head makes `datasets.load_dataset(folder)` find the splits."""
    template = resources.files("wm_data").joinpath("card.md").read_text(encoding="utf-8")
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
    dropped = [[reason, f"{count:,}"] for reason, count in manifest.dropped.items()]
    return Template(template).substitute(
        name=manifest.name,
        codebook=manifest.codebook.split()[0],
        splits=_lines(splits),
        sources=_lines(sources),
        dropped="| reason | rows |\n|---|---|\n" + _lines(dropped) if dropped else "None.",
        seed=manifest.seed,
        limit="" if manifest.limit is None else f", limit {manifest.limit}",
    )


def _lines(table: list[list[str]]) -> str:
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table
    )
