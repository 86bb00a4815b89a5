"""A file appears whole or not at all, and leaves nothing beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wm_eval.atomic import replaced


@pytest.mark.parametrize("before", [None, "old"])
def test_what_ends_the_writer_leaves_what_was_there(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "a.json"
    if before is not None:
        path.write_text(before)

    def write_half() -> None:
        with replaced(path) as staging:
            staging.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert (path.read_text() if path.exists() else None) == before
    assert [*tmp_path.iterdir()] == ([] if before is None else [path])


def test_what_is_written_whole_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with replaced(path) as staging:
        staging.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [*tmp_path.iterdir()] == [path]
