"""W&B's files stay in the run's folder: copies of samples that wait to be sent, cache and logs."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from wm_train.config import TrainConfig
from wm_train.tracking import kept_inside


@pytest.mark.slow
def test_a_run_leaves_nothing_of_wandb_in_the_home(
    tiny: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    home, preset = tmp_path / "home", tmp_path / "preset.yaml"
    home.mkdir()
    preset.write_text(yaml.safe_dump(tiny().model_dump(mode="json")), "utf-8")
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "WANDB_"))}
    subprocess.run(
        [sys.executable, "-m", "wm_train", "--preset", str(preset), "--name", "run"],
        check=True,
        cwd=tmp_path,
        env={**bare, "HOME": str(home), "WANDB_MODE": "offline"},
    )
    assert [path for path in home.rglob("*") if "wandb" in path.as_posix()] == []
    staged = [p for p in (tmp_path / "runs/run/wandb/data").rglob("*") if p.is_file()]
    assert any(b'"columns"' in path.read_bytes() for path in staged), "the table of samples"


def test_a_place_of_the_users_own_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", "/theirs")
    monkeypatch.delenv("WANDB_CACHE_DIR", raising=False)
    with kept_inside(tmp_path):
        assert os.environ["WANDB_DATA_DIR"] == "/theirs"
        assert os.environ["WANDB_CACHE_DIR"] == str(tmp_path / "wandb/cache")
    assert os.environ["WANDB_DATA_DIR"] == "/theirs"
    assert "WANDB_CACHE_DIR" not in os.environ
