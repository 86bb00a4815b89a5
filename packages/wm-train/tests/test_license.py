"""The licence of a base is what its card says, however it says it."""

from pathlib import Path

import pytest

from wm_train.base import license_of

CARDS = {
    "a name": ("---\nlicense: apache-2.0\n---\n# M\n", "apache-2.0"),
    "several": ("---\nlicense: [mit, apache-2.0]\n---\n# M\n", "mit, apache-2.0"),
    "terms of its own": ("---\nlicense: other\nlicense_name: its-own\n---\n# M\n", "its-own"),
    "other, and no name": ("---\nlicense: other\n---\n# M\n", "other"),
    "silent": ("---\ntags: [x]\n---\n# M\n", None),
    "no metadata": ("# M\n", None),
    "broken": ("---\nlicense: [mit\n---\n# M\n", None),
}


@pytest.mark.parametrize("case", CARDS)
def test_of_a_folder(case: str, tmp_path: Path) -> None:
    card, found = CARDS[case]
    (tmp_path / "README.md").write_text(card)
    assert license_of(str(tmp_path)) == found


def test_a_folder_without_a_card_has_none(tmp_path: Path) -> None:
    assert license_of(str(tmp_path)) is None
