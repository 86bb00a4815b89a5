"""A run publishes itself when its preset says so, and is finished whether or not that works."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from wm_manifest import ReleaseManifest, RunManifest, load
from wm_train import origin, publishing, run
from wm_train.config import PublishConfig, TrainConfig

# The hub's client hands its HTTP library the file in a way that the library calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(hub: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The only hub there is, and nothing waits between attempts."""
    monkeypatch.setattr("wm_manifest.hub.retry.FIRST_WAIT_S", 0.0)
    return hub


@pytest.fixture
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)


def go(config: TrainConfig, folder: Path) -> tuple[RunManifest, str]:
    """Train, or go on with what is there; the manifest and what was printed."""
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(record=True, width=200, file=io.StringIO())
    manifest = run.train(config, folder, "demo", ["wm-train"], console)
    return manifest, console.export_text()


def told(config: PublishConfig, folder: Path) -> str:
    console = Console(record=True, width=200, file=io.StringIO())
    publishing.at_end(config, folder, console)
    return console.export_text()


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, dataset_dir: Path) -> tuple[Path, TrainConfig]:
    """A finished LoRA run that could not publish itself: there was no token."""
    from wm_train import presets

    fields = presets.load("demo")
    fields["model"]["lora"] = {"r": 2}
    fields["data"] = {"path": str(dataset_dir)}
    fields["optim"] |= {"steps": 1}
    fields["evaluation"] |= {"every": 100, "limit": 1, "full_limit": 2, "max_new_tokens": 8}
    fields |= {"tracking": {"mode": "disabled"}, "publish": {"repo_id": "me/x", "merge": True}}
    config = TrainConfig.model_validate(fields)
    folder = tmp_path_factory.mktemp("runs") / "lora"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.get_token", lambda: None)
        manifest, said = go(config, folder)
    assert (manifest.status, manifest.hub) == ("finished", None)
    (folder / "said").write_text(said)
    return folder, config


def test_without_a_token_the_run_is_finished_and_the_folders_are_laid_ready(
    lora: tuple[Path, TrainConfig],
) -> None:
    folder, _ = lora
    said = (folder / "said").read_text()
    begun, _, ended = said.partition("share of items")
    assert "no Hugging Face token: at its end the run will be laid ready" in begun
    assert "not published: no Hugging Face token" in ended
    assert f"uv run wm-publish {folder} --repo-id me/x\n" in ended
    assert f"uv run wm-publish {folder} --repo-id me/x-merged --merge\n" in ended
    for record, place in (("release.json", "publish"), ("release-merged.json", "publish-merged")):
        files = load(ReleaseManifest, folder / record).files
        assert len(files) > 5
        assert all((folder / place / ref.path).stat().st_size == ref.bytes for ref in files)


def test_the_same_command_publishes_a_finished_run_once(
    lora: tuple[Path, TrainConfig], hub: Any
) -> None:
    folder, config = lora
    manifest, said = go(config, folder)
    assert "finished already; nothing was trained" in said
    assert manifest.hub is not None
    assert f"published (private): {manifest.hub.url}" in said
    assert manifest.hub.commit == hub.repos["models/me/x"].commits[-1].oid
    assert load(RunManifest, folder / "manifest.json") == manifest
    assert hub.repos["models/me/x"].private
    assert "adapter_model.safetensors" in hub.files("me/x")
    assert "model.safetensors" in hub.files("me/x-merged")
    hub.requests.clear()
    again, said = go(config, folder)
    assert (again, hub.requests) == (manifest, [])
    assert "published" not in said


@pytest.mark.parametrize(
    ("where", "status", "reason"),
    [
        ("POST .*/commit/", 403, "the hub refused with status 403"),
        ("POST .*/commit/", 500, "HfHubHTTPError"),
        (".*", 401, "the hub refused with status 401"),
    ],
)
def test_an_upload_that_fails_leaves_the_folder_and_the_command(
    lora: tuple[Path, TrainConfig], hub: Any, where: str, status: int, reason: str
) -> None:
    folder, _ = lora
    hub.faults.append(hub.Fault(where, "status", status=status, times=1_000))
    said = told(PublishConfig(repo_id="me/other", private=False), folder)
    assert f"not published: {reason}" in said
    assert f"what would have gone up is in {folder / 'publish'}" in said
    assert f"uv run wm-publish {folder} --repo-id me/other --public" in said
    assert (folder / "publish/adapter_model.safetensors").is_file()


def test_a_fault_of_any_kind_is_told_and_raises_nothing(
    lora: tuple[Path, TrainConfig], hub: Any, tmp_path: Path
) -> None:
    """Here: no manifest at all, and so nothing that could be laid ready."""
    said = told(PublishConfig(), tmp_path)
    assert "not published: " in said
    assert "manifest.json" in said
    assert "what would have gone up" not in said


def test_a_run_that_is_not_to_be_published_asks_no_hub(
    lora: tuple[Path, TrainConfig], hub: Any
) -> None:
    folder, _ = lora
    assert told(PublishConfig(at_end=False, repo_id="me/third"), folder) == ""
    publishing.at_end(None, folder, Console(quiet=True))
    assert hub.requests == []


def test_a_replay_publishes_nothing(lora: tuple[Path, TrainConfig]) -> None:
    folder, config = lora
    assert config.publish is not None
    assert origin.find(str(folder)).config.publish is None


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"repo_id": "no-user"}, "user/name"),
        ({"repo_id": "../x"}, "user/name"),
        ({"merge": True}, "merges an adapter"),
    ],
)
def test_what_could_only_fail_at_the_end_is_refused_at_the_start(
    tiny: Callable[..., TrainConfig], section: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        tiny(publish=section)
