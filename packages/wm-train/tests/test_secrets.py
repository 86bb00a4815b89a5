"""Planted secrets are in no byte of a run's folder, nor in what it prints."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet
import pytest

from wm_manifest import EvalReport, GitState, RunManifest, load
from wm_train import cli
from wm_train.record import RunRecord

# None is anybody's.
SECRETS = {
    "hub token": "hf_" + "Qx9" * 11,
    "W&B key": "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
    "new W&B key": "wandb_v1_" + "Zk7" * 14,
    "generic token": 'gen"7Q/å-81mm44',
    "URL password": "pw-Rt5!w2qq",
    "remote password": "pw-Lm8vv31x",
}
OPTION = "0123456789ab-only-here"
REMOTE = f"https://me:{SECRETS['remote password']}@git.example.org/x.git"
BLOCK, HEAD = 32768, 7  # W&B keeps a LevelDB log: a record is cut where a block ends


def written(secret: str) -> set[bytes]:
    """The secret as it may stand in a file: plain, in JSON, in a URL, each in UTF-8 and UTF-16."""
    forms = {secret, json.dumps(secret)[1:-1], quote(secret), quote(secret, safe="")}
    return {form.encode(code) for form in forms for code in ("utf-8", "utf-16-le", "utf-16-be")}


def contents(path: Path) -> Iterator[bytes]:
    """A file's bytes, and what is in it unpacked: zip members, W&B records, columns."""
    raw = path.read_bytes()
    yield raw
    if zipfile.is_zipfile(path):  # torch's files too
        with zipfile.ZipFile(path) as members:
            for name in members.namelist():
                yield name.encode() + members.read(name)
    if path.suffix == ".wandb":
        yield b"".join(raw[at + HEAD : at + BLOCK] for at in range(0, len(raw), BLOCK))
    if path.suffix == ".parquet":
        yield str(pyarrow.parquet.read_table(path).to_pylist()).encode()


def hits(folder: Path, printed: str) -> list[str]:
    """Which secret was found where."""
    forms = {kind: written(secret) for kind, secret in SECRETS.items()}
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    places = {name: (name.encode(), *contents(path)) for name, path in files.items()}
    places["the terminal"] = (printed.encode(),)
    return [
        f"{kind} in {name}"
        for name, parts in places.items()
        for kind in SECRETS
        if any(form in part for part in parts for form in forms[kind])
    ]


@pytest.fixture
def planted(
    tmp_path: Path, base_dir: Path, dataset_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A place to train in, with secrets wherever a user can leave one."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    for name, kind in [
        ("HF_TOKEN", "hub token"),
        ("WANDB_API_KEY", "W&B key"),
        ("OTHER_SERVICE_TOKEN", "generic token"),
    ]:
        monkeypatch.setenv(name, SECRETS[kind])
    monkeypatch.setenv("DATABASE_URL", f"postgres://me:{SECRETS['URL password']}@db.example.org/x")
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "remote", "add", "origin", REMOTE], check=True)
    base = f"{home}/https://me:{SECRETS['URL password']}@example.org/{SECRETS['hub token']}"
    shutil.copytree(base_dir, base)
    data = home / SECRETS["new W&B key"] / SECRETS["W&B key"]
    shutil.copytree(dataset_dir, data)
    preset = home / f"{SECRETS['new W&B key']}.yaml"
    preset.write_text(
        json.dumps(
            {
                "model": {"base": base, "lora": {"r": 2, "alpha": 4}},
                "data": {"path": str(data), "max_tokens": 512},
                "optim": {"learning_rate": 0.003, "steps": 2, "batch_size": 6},
                "evaluation": {"limit": 1, "full_limit": 2, "max_new_tokens": 8},
                "checkpoint": {"every": 1, "keep": 1},
                "log_every": 1,
            }
        )
    )
    arguments = ["--preset", str(preset), "--name", "planted"]
    monkeypatch.setattr(sys, "argv", ["wm-train", *arguments])
    return home


def test_no_secret_is_left_by_a_run(planted: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cli.main()
    run, printed = planted / "runs/planted", "".join(capfd.readouterr())
    manifest = load(RunManifest, run / "manifest.json")
    assert manifest.status == "finished"
    assert manifest.wandb is not None
    assert manifest.wandb.mode == "offline"
    assert hits(run, printed) == []
    assert "<redacted>" in (run / "adapter/adapter_config.json").read_text()
    assert "<redacted>" in (run / "README.md").read_text()


@pytest.mark.parametrize("place", ["the front door", "deep inside"])
def test_no_secret_is_left_by_a_run_that_fails(
    planted: Path, place: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n".join(["the server said:", *SECRETS.values()])
    text = text.replace(SECRETS["remote password"], REMOTE)  # bare, nobody could know it

    def fail(self: RunRecord, report: EvalReport) -> None:
        raise RuntimeError(text)

    if place == "deep inside":
        monkeypatch.setattr(RunRecord, "evaluated", fail)
    else:
        shutil.rmtree(planted / SECRETS["new W&B key"])  # the error names the path
    with pytest.raises(SystemExit) as done:
        cli.main()
    printed = "".join(capfd.readouterr())
    assert (done.value.code, "Traceback" in printed) == {
        "the front door": (2, False),
        "deep inside": (1, True),
    }[place]
    run = planted / "runs/planted"
    assert load(RunManifest, run / "manifest.json").status == "failed"
    assert hits(run, printed) == []


REFUSED = {
    "name": ["--name", SECRETS["hub token"]],
    "runs folder": ["--runs-dir", SECRETS["new W&B key"]],
    "source of the dataset": ["--name", "refused", "--data.recipe", "recipe.yaml"],
    "option": ["--hub-token", OPTION],
    "option with =": [f"--hub-token={OPTION}"],
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_secret_that_would_be_shown_is_refused(
    case: str,
    tmp_path: Path,
    dataset_dir: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    # The patch of a run has these tests' own lines where somebody is editing beside them.
    clean = GitState(commit="a" * 40, dirty=False)
    monkeypatch.setattr("wm_train.checkout.state", lambda *_: clean)
    rows = f"{SECRETS['hub token']}.parquet"
    shutil.copy(dataset_dir / "seeds/train.parquet", rows)
    Path("recipe.yaml").write_text(f"name: rows\nsources:\n  - id: rows\n    file: {rows}\n")
    monkeypatch.setattr(sys, "argv", ["wm-train", "--preset", "demo", *REFUSED[case]])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 2
    assert {path.name for path in tmp_path.iterdir()} <= {rows, "recipe.yaml", "runs"}
    printed = "".join(capfd.readouterr())
    assert "error: " in printed
    assert OPTION not in printed
    assert hits(tmp_path / "runs", printed) == []
