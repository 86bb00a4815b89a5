"""The files of a dataset folder but its manifest and card: who stands in which. Chooses nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import wm_score
from wm_data.audit import Measured
from wm_data.bands import Band
from wm_data.choosing import Chosen
from wm_data.examples import EXAMPLES_PER_ROW, examples
from wm_data.progress import tracked
from wm_data.tables import write_bands, write_examples, write_seeds, write_texts
from wm_data.unmarked import Texts


def write(folder: Path, chosen: Chosen, seed: int, progress: bool) -> list[str]:
    """Write what was chosen into `folder`, which is empty; return the names, sorted."""
    names = _write_splits(folder, chosen.splits, seed, progress)
    names += [_write_dropped(folder, chosen.faulty)]
    names += _write_extras(folder, chosen.bands, chosen.texts)
    return sorted(names)


def _write_splits(
    folder: Path, splits: dict[str, list[Measured]], seed: int, progress: bool
) -> list[str]:
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
