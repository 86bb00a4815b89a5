"""What the manifest says of a dataset: counts, reasons, sources, templates. Writes no file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import wm_prompts
from wm_data.audit import REASONS, Measured
from wm_data.bands import BAND_REASONS, Band
from wm_data.examples import EXAMPLES_PER_ROW
from wm_data.near import near_check
from wm_data.recipe import Recipe, Source, TextSource
from wm_data.rows import Row, Text, normalise
from wm_data.sources import Opened, S
from wm_data.unmarked import TEXT_REASONS, Texts
from wm_manifest import BandCounts, SourceRef, SplitCounts, TemplateRef, UnmarkedCounts

AnyOpened = Opened[Source, Row] | Opened[TextSource, Text]


def pinned(recipe: Recipe, opened: Iterable[AnyOpened]) -> Recipe:
    """The recipe with the commits that were read: built again, it reads the same."""
    revisions = {item.source.id: item.revision for item in opened if item.source.hub}

    def pin(source: S) -> S:
        if source.id not in revisions:
            return source
        return source.model_copy(update={"revision": revisions[source.id]})

    sources, unmarked = [*map(pin, recipe.sources)], [*map(pin, recipe.unmarked)]
    return recipe.model_copy(update={"sources": sources, "unmarked": unmarked})


def resolved(recipe: Recipe) -> dict[str, Any]:
    """All fields that are set, and those that only an explicit null leaves out."""
    off = {} if recipe.near_duplicates else {"near_duplicates": None}
    return recipe.model_dump(exclude_none=True) | off


def source_refs(
    opened: Iterable[Opened[Source, Row]],
    measured: Iterable[Measured],
    splits: Mapping[str, Sequence[Measured]],
) -> list[SourceRef]:
    """Each source of rows, with how many were read and kept."""
    read = Counter(item.row.source for item in measured)
    kept = Counter(item.row.source for items in splits.values() for item in items)
    return [_ref(item, read, kept) for item in opened]


def unmarked_counts(
    opened: Sequence[Opened[TextSource, Text]], texts: Texts
) -> UnmarkedCounts | None:
    """The unmarked texts, counted; None for a recipe without any."""
    if not opened:
        return None
    kept = Counter(text.source for text in texts.kept)
    return UnmarkedCounts(
        texts=len(texts.kept),
        groups=len({text.group for text in texts.kept}),
        sources=[_ref(item, texts.read, kept) for item in opened],
        dropped=_reasons(texts.dropped, TEXT_REASONS),
    )


def band_counts(bands: Iterable[Band]) -> dict[str, BandCounts]:
    """Each band by its name, its number of counted tokens."""
    return {
        str(band.counted): BandCounts(
            rows=band.rows, examples=len(band.lines), dropped=_reasons(band.dropped, BAND_REASONS)
        )
        for band in bands
    }


def _ref(
    opened: AnyOpened,
    read: Mapping[str, int],
    kept: Mapping[str, int],
) -> SourceRef:
    source = opened.source
    return SourceRef(
        id=source.id,
        kind=source.kind,
        location=source.name,
        revision=opened.revision,
        files=opened.files,
        role=source.role,
        rows_read=read.get(source.id, 0),
        rows_kept=kept.get(source.id, 0),
    )


def split_counts(items: Sequence[Measured]) -> SplitCounts:
    """Of one split."""
    rows = len(items)
    return SplitCounts(
        rows=rows,
        groups=len({item.group for item in items}),
        examples=EXAMPLES_PER_ROW * rows,
        by_task={"watermark": 2 * rows, "detect": 4 * rows},
    )


def drop_counts(dropped: Iterable[Measured]) -> dict[str, int]:
    """Rows by the reason for which they were left out."""
    return _reasons(Counter(item.reason for item in dropped), REASONS)


def checks(recipe: Recipe, splits: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """How far the splits are apart: groups and subjects in two of them, and near duplicates."""
    near = recipe.near_duplicates
    return {
        "groups_in_two_splits": _in_two_splits(splits, lambda item: item.group),
        "subjects_in_two_splits": _in_two_splits(splits, lambda item: normalise(item.row.subject)),
        "near_duplicates": near_check(near) if near else "not looked for",
    }


def _in_two_splits(splits: Mapping[str, Sequence[Measured]], of: Callable[[Measured], str]) -> int:
    """How often a group, or a subject, stands in a split more than one; 0 is right."""
    found = [{of(item) for item in items} - {""} for items in splits.values()]
    return sum(map(len, found)) - len(set[str]().union(*found))


def _reasons(found: Mapping[str, int], known: Iterable[str]) -> dict[str, int]:
    return {reason: found[reason] for reason in known if found.get(reason)}


def template_refs(ids: Iterable[str]) -> list[TemplateRef]:
    """Templates with their text, as a manifest has them."""
    return [
        TemplateRef(
            id=id,
            sha256=wm_prompts.sha256(id),
            text=wm_prompts.source(id),
            heldout=id.split("/")[2].startswith("heldout"),
        )
        for id in ids
    ]
