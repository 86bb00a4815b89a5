"""Tables about a dataset folder for the terminal. Reads only what it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.markup import escape as for_rich
from rich.table import Table

from wm_data.audit import REASONS, Measured
from wm_data.bands import BAND_REASONS
from wm_data.dataset import Dataset
from wm_data.generate import Generated
from wm_data.report import NullFigures, length_figures
from wm_data.unmarked import TEXT_REASONS
from wm_manifest import DatasetManifest, SourceRef
from wm_score.visible import visible

SAMPLES = 3
LONGEST = 2_000  # characters of a text that are shown
UNKNOWN = "a reason of another version of wm-data"


def summary(manifest: DatasetManifest, folder: Path) -> list[RenderableType]:
    """What was kept, and what was dropped and why."""
    title = escape(f"{manifest.name}, seed {manifest.seed}: {folder}")
    kept = Table(title=title, title_justify="left")
    kept.add_column("split")
    for name in ("rows", "prompts", "examples", "watermark", "detect"):
        kept.add_column(name, justify="right")
    for name, counts in manifest.splits.items():
        tasks = [counts.by_task.get(task, 0) for task in ("watermark", "detect")]
        numbers = [counts.rows, counts.groups, counts.examples, *tasks]
        kept.add_row(escape(name), *(f"{number:,}" for number in numbers))
    return [
        kept,
        _sources(manifest.sources),
        *_dropped(manifest),
        *_bands(manifest),
        *_unmarked(manifest),
    ]


def _sources(sources: Sequence[SourceRef]) -> Table:
    table = Table(title="sources", title_justify="left")
    for name in ("source", "role", "location"):
        table.add_column(name)
    for name in ("read", "kept"):
        table.add_column(name, justify="right")
    for source in sources:
        names = map(escape, (source.id, source.role, source.location))
        table.add_row(*names, f"{source.rows_read:,}", f"{source.rows_kept:,}")
    return table


def _dropped(manifest: DatasetManifest) -> list[RenderableType]:
    read = sum(source.rows_read for source in manifest.sources)
    if not manifest.dropped:
        return [f"{read:,} rows read, none dropped"]
    lost = Table(
        title=f"{sum(manifest.dropped.values()):,} of {read:,} rows dropped", title_justify="left"
    )
    lost.add_column("rows", justify="right")
    lost.add_column("reason")
    lost.add_column("meaning")
    for reason, count in manifest.dropped.items():
        lost.add_row(f"{count:,}", escape(reason), REASONS.get(reason, UNKNOWN))
    return [lost]


def _bands(manifest: DatasetManifest) -> list[RenderableType]:
    """Test texts cut to lengths, a line a length."""
    if not manifest.bands:
        return []
    table = Table(title="test texts cut to lengths", title_justify="left")
    for name in ("counted tokens", "rows", "examples", *BAND_REASONS):
        table.add_column(name, justify="right")
    for name, band in manifest.bands.items():
        lost = [band.dropped.get(reason, 0) for reason in BAND_REASONS]
        table.add_row(
            escape(name), *(f"{number:,}" for number in (band.rows, band.examples, *lost))
        )
    return [table]


def _unmarked(manifest: DatasetManifest) -> list[RenderableType]:
    """Texts that nobody marked: kept, and left out for which reasons."""
    found = manifest.unmarked
    if found is None:
        return []
    kept = f"{found.texts:,} unmarked texts to {found.groups:,} prompts"
    if not found.dropped:
        return [f"{kept}, none left out"]
    table = Table(title=f"{kept}; {sum(found.dropped.values()):,} left out", title_justify="left")
    table.add_column("texts", justify="right")
    table.add_column("reason")
    table.add_column("meaning")
    for reason, count in found.dropped.items():
        table.add_row(f"{count:,}", escape(reason), TEXT_REASONS.get(reason, UNKNOWN))
    return [table]


def verdicts(measured: Sequence[Measured], null: NullFigures) -> list[RenderableType]:
    """Rows by reason; how far a length alone, and unmarked text alone, tell the colours apart."""
    kept = [item for item in measured if item.kept]
    found = Counter(item.reason or "sound" for item in measured)
    table = Table(title=f"{len(measured):,} rows", title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("verdict")
    for reason in ("sound", *REASONS):
        if found[reason]:
            table.add_row(f"{found[reason]:,}", reason)
    lengths = Table(title="the colour by length alone", title_justify="left")
    for name in ("length in", "red longer", "right by threshold"):
        lengths.add_column(name)
    for unit, chance, right in length_figures(kept):
        lengths.add_row(unit, f"{chance:.3f}", f"{right:.3f}")
    found_in = Table(
        title=f"the colour by p-values against unmarked text, {null.rows:,} rows",
        title_justify="left",
    )
    for name in ("red speaks more for red", "right by threshold", "red p <= .01", "blue p <= .01"):
        found_in.add_column(name)
    found_in.add_row(
        f"{null.chance:.3f}", f"{null.right:.3f}", f"{null.red:.1%}", f"{null.blue:.1%}"
    )
    return [table, lengths, found_in]


def written(path: Path) -> str:
    """Where the outcome is, as rich prints it unchanged."""
    return escape(f"written: {path}")


def generated(done: Generated, wanted: int | None) -> list[RenderableType]:
    """What a run of `wm-data generate` came to, and whether that is less than was wanted."""
    table = Table(title=f"{done.rows:,} rows from {done.prompts:,} prompts", title_justify="left")
    table.add_column("mean over the rows")
    table.add_column("", justify="right")
    for name, value in done.means.items():
        digits, without = (3, "") if name.endswith("share") else (2, " without bias")
        table.add_row(name.replace("_", " ") + without, f"{value:.{digits}f}")
    speed = f"{done.tokens:,} tokens in {done.seconds:,.0f} s"
    if done.seconds:
        speed += f", {done.tokens / done.seconds:.0f} a second"
    told: list[RenderableType] = [table, speed]
    if wanted is not None and done.rows < wanted:
        told.append(
            f"{wanted - done.rows:,} fewer than the {wanted:,} wanted, and every prompt was tried: "
            "give more prompts, or a larger --per-prompt with another file"
        )
    if not done.dropped:
        return [*told, "no prompt dropped"]
    lost = Table(
        title=f"{sum(done.dropped.values()):,} of {done.prompts:,} prompts dropped",
        title_justify="left",
    )
    lost.add_column("prompts", justify="right")
    lost.add_column("what was wrong with its longest answers")
    for reason, count in done.dropped.items():
        lost.add_row(f"{count:,}", reason)
    return [*told, lost]


def rows(dataset: Dataset) -> list[RenderableType]:
    """The first rows of the test split, to be read by a person."""
    table = Table(title="first test rows", title_justify="left", show_lines=True)
    for name, style in (("prompt", ""), ("red answer", "red"), ("blue answer", "blue")):
        table.add_column(name, style=style, ratio=1)
    for row in dataset.rows("test")[:SAMPLES]:
        table.add_row(*map(_shown, (row.prompt, row.red_answer, row.blue_answer)))
    return [table]


def _shown(text: str) -> str:
    more = f" … ({len(text) - LONGEST:,} characters more)" if len(text) > LONGEST else ""
    return escape(text[:LONGEST], kept="\n") + more


def escape(text: str, kept: str = "") -> str:
    """As rich prints it unchanged; a terminal obeys nothing in it."""
    return for_rich(visible(text, kept))
