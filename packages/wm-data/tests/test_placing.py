"""Where a source is read from: a path, right or misspelt, is never asked for at the hub."""

import pytest

import wm_data
from wm_data.placing import is_path, place_sources, recipe_of
from wm_data.recipe import Recipe


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "seeds").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("typo/rows.jsonl", True),
        ("typo/rows.jsonl.gz", True),
        ("typo/rows.parquet", True),
        ("typo/rows.csv", True),
        ("typo/rows.json", True),
        ("./rows", True),
        ("../rows/a", True),
        ("~/rows", True),
        ("/rows/a", True),
        ("seeds/typo", True),  # the folder `seeds` is there
        ("seeds", True),
        ("someone/seeds", False),
        ("someone/seeds@v1:even,odd", False),
        ("someone/seeds:even", False),
        ("seeds/typo@main", False),  # says that it is of the hub
        ("someone/wiki.txt@main:train", False),
        ("someone/seeds-1.5", False),
    ],
)
def test_what_is_a_path_and_what_is_of_the_hub(place, path):
    assert is_path(place) == path
    recipe = Recipe.model_validate({"name": "x", "sources": [{"id": "a"}]})
    placed = place_sources(recipe, {"a": place}).sources[0]
    assert (placed.file == place, placed.hub is None) == (path, path)
    assert recipe_of(place).sources[0].kind == ("file" if path else "hub")


@pytest.mark.parametrize("place", ["typo/rows.jsonl", "./rows", "seeds/typo"])
def test_a_misspelt_path_says_that_no_file_is_there(place, tmp_path):
    recipe = Recipe.model_validate({"name": "x", "sources": [{"id": "a"}]})
    with pytest.raises(wm_data.WmDataError, match=f"^{place}: no data file there") as caught:
        wm_data.build(recipe, tmp_path / "out", places={"a": place}, progress=False)
    assert ("write seeds/typo@main" in str(caught.value)) == (place == "seeds/typo")


OF_HUB = {"hub": "o/n", "config": "c", "revision": "v1", "splits": ["odd"]}


@pytest.mark.parametrize(
    ("source", "place", "expected"),
    [
        (OF_HUB, "o/n", OF_HUB),
        (OF_HUB, "o/n@v2:even", OF_HUB | {"revision": "v2", "splits": ["even"]}),
        (OF_HUB, "other/n", {"hub": "other/n"}),
        (OF_HUB, "other/n@v2", {"hub": "other/n", "revision": "v2"}),
        (OF_HUB, "rows.jsonl", {"file": "rows.jsonl"}),
        ({"splits": ["odd"]}, "o/n", {"hub": "o/n", "splits": ["odd"]}),
        ({"grammar": "demo"}, "o/n", {"hub": "o/n"}),
        ({"shipped": "smollm2"}, "rows.jsonl", {"file": "rows.jsonl"}),
    ],
)
def test_what_belongs_to_a_repository_does_not_follow_to_another_place(source, place, expected):
    rest = {"id": "a", "role": "train", "columns": {"prompt": "q"}, "cap": 3}
    recipe = Recipe.model_validate({"name": "x", "sources": [{**rest, **source}]})
    placed = place_sources(recipe, {"a": place})
    assert placed.model_dump(exclude_unset=True)["sources"] == [{**rest, **expected}]
    assert Recipe.model_validate(placed.model_dump(exclude_none=True)).sources == placed.sources
