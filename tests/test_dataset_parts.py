"""What wm-data writes beside the splits is what wm-eval reads there, all of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import wm_data
import wm_score
from wm_eval import items
from wm_manifest import DatasetManifest


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DatasetManifest]:
    folder = tmp_path_factory.mktemp("built") / "demo"
    return folder, wm_data.build("demo", folder, limit=400, progress=False)


def test_bands_are_read_as_they_were_counted(built: tuple[Path, DatasetManifest]) -> None:
    folder, manifest = built
    found = items.read(folder).bands
    counts = Counter(str(item.band) for item in found)
    assert counts == {name: band.examples for name, band in manifest.bands.items() if band.rows}
    assert len(counts) == 2
    for item in found:
        assert item.text in item.messages[-1]["content"]
        assert wm_score.score(item.text).verdict == item.expected


def test_unmarked_texts_are_read_as_they_were_counted(built: tuple[Path, DatasetManifest]) -> None:
    folder, manifest = built
    found = items.read(folder).unmarked
    assert manifest.unmarked is not None
    assert len(found) == manifest.unmarked.texts > 300
    assert {text.source for text in found} == {"demo-unmarked"}
