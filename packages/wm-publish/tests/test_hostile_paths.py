"""No text of a manifest leads a release out of its run folder, neither to read nor to write."""

from __future__ import annotations

import itertools
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from wm_manifest import HubRef, ManifestError, RunManifest, load, save
from wm_publish import PublishError, prepare, stage

SECRET = b"\x89PNG of somebody else"
TRICKS = [
    "../outside.png",
    "../../outside.png",
    "plots/../../outside.png",
    "./../outside.png",
    "..\\outside.png",
    "%2e%2e/outside.png",
    "plots/link.png",
    "plots/folder/outside.png",
    "ABSOLUTE",
    "file://ABSOLUTE",
    "~/outside.png",
    "a\0b.png",
    "plots/detect.png\n../outside.png",
    "C:\\outside.png",
    "..",
    "",
]
PLACES = ("name", "base", "hub", "plots", "evaluation", "dataset", "files", "preset", "command")
numbers = itertools.count()


@pytest.fixture
def everything(tmp_path: Path) -> Any:
    """Content of every file below the test's folder that is not in `run`."""
    (tmp_path / "outside.png").write_bytes(SECRET)

    def look(run: Path) -> dict[Path, bytes]:
        found = (path for path in tmp_path.rglob("*") if run not in path.parents)
        return {path: path.read_bytes() for path in found if path.is_file()}

    return look


def altered(manifest: RunManifest, text: str, place: str) -> RunManifest:
    first, *rest = manifest.evaluations[::-1]
    assert manifest.dataset is not None
    changes: dict[str, Any] = {
        "name": text,
        "base": manifest.base.model_copy(update={"location": text}),
        "hub": HubRef(repo_id=text, commit=text, url=text),
        "plots": [text],
        "evaluation": [*rest[::-1], first.model_copy(update={"path": text})],
        "dataset": manifest.dataset.model_copy(update={"path": text, "name": text}),
        "files": [manifest.files[0].model_copy(update={"path": text})],
        "preset": text,
        "command": [text],
    }
    field = "evaluations" if place == "evaluation" else place
    return manifest.model_copy(update={field: changes[place]})


@settings(
    deadline=None,
    max_examples=40,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    text=st.sampled_from(TRICKS) | st.lists(st.sampled_from(["..", "/", "a", "."])).map("".join),
    place=st.sampled_from(PLACES),
    output=st.sampled_from(["model", "adapter"]),
)
@example(text="../outside.png", place="plots", output="model")
@example(text="plots/link.png", place="plots", output="model")
@example(text="plots/folder/outside.png", place="plots", output="model")
@example(text="..", place="evaluation", output="model")
@example(text="../../x", place="name", output="model")
@example(text="../../x", place="hub", output="model")
@example(text="ABSOLUTE", place="base", output="adapter")
def test_a_release_reads_and_writes_inside_its_folder(
    make_run, everything, tmp_path, text, place, output
):
    run = make_run(f"run-{next(numbers)}", output=output)
    (run / "plots/link.png").symlink_to(tmp_path / "outside.png")
    (run / "plots/folder").symlink_to(tmp_path)
    manifest = load(RunManifest, run / "manifest.json")
    text = text.replace("ABSOLUTE", str(tmp_path / "outside.png"))
    save(altered(manifest, text, place), run / "manifest.json")
    before = everything(run)
    for act in (lambda: prepare(run), lambda: stage(run, None, True, "no hub here")):
        with suppress(PublishError, ManifestError):
            act()
    assert everything(run) == before
    laid = [path for path in (run / "publish").rglob("*") if path.is_file()]
    assert all(path.resolve().is_relative_to(run / "publish") for path in laid)
    assert SECRET not in [path.read_bytes() for path in laid]
    assert not {path.name for path in run.iterdir()} - {
        *("README.md", "manifest.json", "log.jsonl", "publish", "release.json"),
        *("plots", "eval", "checkpoints", output),
    }


def test_what_is_hostile_in_no_path_is_laid_ready(make_run):
    """Else the test above could pass because nothing is ever written."""
    run = make_run()
    save(
        altered(load(RunManifest, run / "manifest.json"), "../../x", "name"), run / "manifest.json"
    )
    assert stage(run, None, True, "no hub here").staged == run / "publish"
    assert (run / "publish/model.safetensors").is_file()
