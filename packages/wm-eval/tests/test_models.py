"""Models by the names that the command takes: what a report says of those of the hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from wm_eval.models import Names, open_models


def test_models_of_the_hub_are_recorded_by_commit(
    tmp_path: Path, make_model: Callable[..., Any], tokenizer: Any, hub: Any
) -> None:
    """A branch moves on, and so does a tag: neither says later what was evaluated."""

    def give(repo_id: str, seed: int) -> str:
        folder = tmp_path / str(seed)
        make_model(seed=seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        repo = hub.repos.get(f"models/{repo_id}") or hub.create(repo_id, private=False)
        return repo.give({path.name: path.read_bytes() for path in folder.iterdir()}).oid

    model, old, new = give("me/model", 1), give("me/base", 2), give("me/base", 3)
    hub.repos["models/me/base"].tags["v1"] = old

    def recorded(**names: str) -> list[str | None]:
        found = open_models(Names("me/model", **names), "float32", "cpu", "hf")
        return [ref and ref.revision for ref in (found.ref, found.base_ref)]

    assert recorded() == [model, None]
    assert recorded(base="me/base") == [model, new]
    assert recorded(base="me/base", base_revision="v1") == [model, old]
