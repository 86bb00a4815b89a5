"""A real run's newest checkpoint, each file damaged in turn: the one before is used, and it says so."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from wm_manifest import RunManifest, load
from wm_train import resume, run
from wm_train.callbacks import Watch
from wm_train.config import TrainConfig
from wm_train.errors import CheckpointError
from wm_train.provenance import sha256

pytestmark = pytest.mark.usefixtures("no_pictures")

FILES = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
    "checkpoint.json",
    "optimizer.pt",
    "rng_state.pth",
    "scheduler.pt",
    "tokenizer.json",
    "tokenizer_config.json",
    "trainer_state.json",
]


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


DAMAGE: dict[str, Callable[[Path], None]] = {
    "deleted": Path.unlink,
    "emptied": lambda path: os.truncate(path, 0),
    "halved": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut at its end": lambda path: os.truncate(path, path.stat().st_size - 3),
    "flipped in a bit": _flip,
    "a folder": lambda path: (path.unlink(), path.mkdir())[1],
}


def go(config: TrainConfig, folder: Path, restart: bool = False) -> tuple[RunManifest, str]:
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(record=True, width=200, file=io.StringIO())
    manifest = run.train(config, folder, "demo", ["wm-train"], console, restart)
    return manifest, console.export_text()


@pytest.fixture(scope="module")
def config(tiny: Callable[..., TrainConfig]) -> TrainConfig:
    return tiny(
        optim={"steps": 4},
        checkpoint={"every": 1, "keep": 2},
        model={"lora": {"r": 2, "alpha": 4, "dropout": 0.1}},
        tracking={"mode": "disabled"},
    )


@pytest.fixture(scope="module")
def stopped(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run stopped after its third step: checkpoints 2 and 3 are there."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    saved = Watch.on_save

    def stop(self, args, state, control, **kwargs) -> None:  # type: ignore[no-untyped-def]
        saved(self, args, state, control, **kwargs)
        if state.global_step == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "on_save", stop)
        with pytest.raises(KeyboardInterrupt):
            go(config, folder)
    return folder


@pytest.fixture(scope="module")
def weights(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Hash of the weights that the run ends with when nothing stops it."""
    manifest, _ = go(config, tmp_path_factory.mktemp("whole") / "run")
    assert manifest.weights_sha256 is not None
    return manifest.weights_sha256


@pytest.fixture
def pair(stopped: Path, tmp_path: Path) -> Path:
    """A copy of the stopped run's checkpoints and manifest, which is quick to make."""
    shutil.copytree(stopped / "checkpoints", tmp_path / "pair/checkpoints")
    shutil.copy(stopped / "manifest.json", tmp_path / "pair")
    return tmp_path / "pair"


@pytest.fixture
def again(stopped: Path, tmp_path: Path) -> Path:
    """A copy of the stopped run to damage."""
    return shutil.copytree(stopped, tmp_path / "run")


def content(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below `folder`; of a folder, that it is one."""
    return {
        path.relative_to(folder).as_posix(): sha256(path) if path.is_file() else "a folder"
        for path in folder.rglob("*")
    }


def choose(folder: Path) -> tuple[Path | None, str]:
    """The checkpoint that a resumed run would take, and what it says of it."""
    console = Console(record=True, width=200, file=io.StringIO())
    before = load(RunManifest, folder / "manifest.json")
    return resume.checkpoint(folder, before, False, console), console.export_text()


def test_an_undamaged_pair_says_nothing(pair: Path) -> None:
    assert choose(pair) == (pair / "checkpoints/checkpoint-3", "")


def test_the_table_has_every_file_of_a_checkpoint(stopped: Path) -> None:
    folder = stopped / "checkpoints/checkpoint-3"
    assert sorted(p.name for p in folder.iterdir()) == FILES


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_the_checkpoint_before_is_used_and_the_reason_is_said(
    pair: Path, name: str, damage: str, without_the_newest: dict[str, str]
) -> None:
    DAMAGE[damage](pair / "checkpoints/checkpoint-3" / name)
    chosen, said = choose(pair)
    assert chosen == pair / "checkpoints/checkpoint-2"
    assert said.startswith("checkpoint-3 is passed over: ")
    assert name in said
    assert len(said.splitlines()) == 1
    assert content(pair / "checkpoints") == without_the_newest, (
        "the run goes on from the same bytes"
    )


@pytest.fixture(scope="module")
def without_the_newest(stopped: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What would be there if checkpoint 3 had never been saved: a run goes on from nothing else."""
    folder = tmp_path_factory.mktemp("without") / "checkpoints"
    shutil.copytree(stopped / "checkpoints", folder, ignore=shutil.ignore_patterns("checkpoint-3"))
    return content(folder)


FOLLOWED = {  # to the final weights in every test run, a file and a kind of damage each once
    ("adapter_model.safetensors", "flipped in a bit"),
    ("checkpoint.json", "halved"),
    ("optimizer.pt", "deleted"),
    ("rng_state.pth", "emptied"),
}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param(name, damage, marks=[] if (name, damage) in FOLLOWED else pytest.mark.slow)
        for name in FILES
        for damage in DAMAGE
    ],
)
def test_the_same_weights_come_out(
    config: TrainConfig, again: Path, weights: str, name: str, damage: str
) -> None:
    DAMAGE[damage](again / "checkpoints/checkpoint-3" / name)
    manifest, said = go(config, again)
    assert f"checkpoint-3 is passed over: {name}" in said
    assert manifest.weights_sha256 == weights
    assert manifest.attempts[-1].from_step == 2


def test_with_none_whole_it_starts_over_only_when_told(
    config: TrainConfig, again: Path, weights: str
) -> None:
    (again / "checkpoints/checkpoint-2/rng_state.pth").unlink()
    _flip(again / "checkpoints/checkpoint-3/scheduler.pt")
    kept = sorted(p.relative_to(again) for p in again.rglob("*"))
    with pytest.raises(
        CheckpointError, match="no whole checkpoint left; give --restart"
    ) as refused:
        go(config, again)
    assert len(str(refused.value).splitlines()) == 1
    assert sorted(p.relative_to(again) for p in again.rglob("*")) == kept  # nothing is removed
    manifest, said = go(config, again, restart=True)
    assert "training starts over from step 0" in said
    assert manifest.weights_sha256 == weights
    assert manifest.attempts[-1].from_step == 0
