"""Says where the sources of a recipe are read from: a path or the hub. Opens neither."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from wm_data.errors import WmDataError
from wm_data.recipe import (
    OF_HUB,
    SUFFIXES,
    AnySource,
    Recipe,
    Source,
    TextSource,
    load_recipe,
    names,
)

HUB_ID = re.compile(
    r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?(:(?P<splits>[\w.-]+(,[\w.-]+)*))?"
)
DATA_SUFFIXES = (  # of files that hold rows, whether we read them or not
    ".parquet", ".jsonl", ".csv", ".json", ".tsv", ".txt", ".arrow", ".ndjson",
    ".jsonl.gz", ".csv.gz", ".json.gz", ".zip", ".zst",
)  # fmt: skip


def recipe_of(source: str) -> Recipe:
    """A recipe by name or file, or one around a lone data file, folder or hub id.

    >>> recipe_of("someone/seeds").sources[0].hub
    'someone/seeds'
    """
    path = Path(source)
    if source in names() or path.suffix in SUFFIXES:
        return load_recipe(source)
    if not (is_path(source) or HUB_ID.fullmatch(source)):
        return load_recipe(source)  # and raise: it is nothing
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name) or "source"
    return place_sources(Recipe(name=name, sources=[Source(id="source")]), {"source": source})


def place_sources(recipe: Recipe, places: Mapping[str, str]) -> Recipe:
    """The recipe with sources read from elsewhere: a path, or `owner/name` of the hub with a
    revision behind `@` and the splits to read behind `:`, where they are wanted.

    >>> recipe = place_sources(load_recipe("medium"), {"medium": "someone/seeds@v1:even,odd"})
    >>> recipe.sources[0].hub, recipe.sources[0].revision, recipe.sources[0].splits
    ('someone/seeds', 'v1', ['even', 'odd'])
    """
    sources: dict[str, AnySource] = {
        source.id: source for source in [*recipe.sources, *recipe.unmarked]
    }
    for id, place in places.items():
        if id not in sources:
            raise WmDataError(
                f"recipe {recipe.name}: has no source {id!r}; it has {', '.join(sources)}"
            )
        sources[id] = _placed(sources[id], place)
    placed = list(sources.values())
    return recipe.model_copy(
        update={
            "sources": [source for source in placed if isinstance(source, Source)],
            "unmarked": [source for source in placed if isinstance(source, TextSource)],
        }
    )


def is_path(place: str) -> bool:
    """Whether a place is on the disk, or would be: a misspelt path is no dataset of the hub.

    >>> is_path("seeds/typo.jsonl"), is_path("./seeds"), is_path("someone/seeds")
    (True, True, False)
    """
    hub = HUB_ID.fullmatch(place)
    name = hub["name"] if hub else place
    if place.startswith((".", "/", "~")) or Path(place).exists():
        return True
    if hub and hub["revision"]:
        return False
    if name.endswith(DATA_SUFFIXES):
        return True
    return name == place and hub is not None and Path(place).parent.is_dir()


def _placed(source: AnySource, place: str) -> AnySource:
    """The source at another place. What it says of a repository holds for that repository alone."""
    fields = source.model_dump(exclude_unset=True)
    kept = {k: v for k, v in fields.items() if k not in ("grammar", "shipped", "file", "hub")}
    hub = None if is_path(place) else HUB_ID.fullmatch(place)
    if hub is None or source.hub not in (None, hub["name"]):
        kept = {k: v for k, v in kept.items() if k not in OF_HUB}
    if hub is None:
        return type(source).model_validate(kept | {"file": place})
    kept |= {"hub": hub["name"]}
    if hub["revision"]:
        kept |= {"revision": hub["revision"]}
    if hub["splits"]:
        kept |= {"splits": hub["splits"].split(",")}
    return type(source).model_validate(kept)
