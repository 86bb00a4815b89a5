"""The demo folder, built once, and rows that obey the rule."""

from pathlib import Path

import pytest

import wm_data


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> wm_data.Dataset:
    out = tmp_path_factory.mktemp("built") / "demo"
    wm_data.build("demo", out, progress=False)
    return wm_data.read(out)


@pytest.fixture(scope="session")
def demo_rows(demo: wm_data.Dataset) -> list[wm_data.Row]:
    return [row for split in demo.manifest.splits for row in demo.rows(split)]


@pytest.fixture
def files(demo: wm_data.Dataset) -> dict[str, bytes]:
    return contents(demo.path)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
