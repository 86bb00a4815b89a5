"""The manifests that the tests share: of each kind one as it first was, and one with every field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wm_manifest import SCHEMA_VERSION, Record, load
from wm_manifest.schema import RECORDS

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden() -> dict[str, list[Path]]:
    """Kind -> its files, one for every schema version there has been."""
    return {kind: sorted(GOLDEN.glob(f"{kind}-*.json")) for kind in RECORDS}


@pytest.fixture(scope="session")
def full() -> dict[str, Path]:
    """Kind -> the file of its newest version in which every field there is has a value."""
    return {kind: GOLDEN / "full" / f"{kind}-{SCHEMA_VERSION}.json" for kind in RECORDS}


@pytest.fixture
def example() -> Callable[[str], Record]:
    """A whole record of a kind."""
    return lambda kind: load(RECORDS[kind], GOLDEN / f"{kind}-1.json")
