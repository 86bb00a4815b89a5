"""Every mistake on the command line: one clear line, exit code 2, no traceback."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wm_manifest import RunManifest, save
from wm_train import cli, commands, presets, run_folder
from wm_train.errors import ConfigError
from wm_train.signals import Stopped

BAD_DATASET = '{"prompt": "x", "blue_answer": "y"}\n'


def wm_train(monkeypatch: pytest.MonkeyPatch, *args: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["wm-train", *args])
    with pytest.raises(SystemExit) as done:
        cli.main()
    return done.value.code


QUICK = ["--preset", "demo", "--data.limit", "20"]
CASES = {
    "plan for an unknown device": (
        ["plan", "--preset", "demo", "--device", "x"],
        "there are: rtx-4090",
    ),
    "plan of an unknown preset": (["plan", "--preset", "dmo"], "did you mean demo?"),
    "plan of an unknown shape": (
        ["plan", "--preset", "demo", "--model.base", "some/model"],
        "the shape of 'some/model' is not known",
    ),
    "plan at an MFU of nothing": (["plan", "--mfu", "0"], "--mfu 0.0: expected a share"),
    "plan at an MFU of no number": (["plan", "--mfu", "nan"], "--mfu nan: expected a share"),
    "plan for no device": (["plan", "--devices", "0"], "--devices 0: expected a whole number"),
    "plan of no rows": (["plan", "--rows", "-3"], "--rows -3: expected a whole number"),
    "plan of a word": (["plan", "demo"], "for the preset: wm-train plan --preset demo"),
    "preset before plan": (["--preset", "demo", "plan"], "wm-train plan --preset demo"),
    "a word for a preset": (
        ["demo"],
        "there is no command 'demo'; there are: plan, presets, replay, runs, status; "
        "for the preset: wm-train --preset demo",
    ),
    "a word after options": (["--optim.steps", "3", "demo"], "for the preset: wm-train --preset"),
    "a word for a preset's file": (["my.yaml"], "for the preset: wm-train --preset my.yaml"),
    "a word with options of its own": (
        ["stats", "--json"],
        "there is no command 'stats'; did you mean status? there are: plan, presets, replay, "
        "runs, status; a preset is given with --preset, as in: wm-train --preset qwen3-0.6b",
    ),
    "status by --name": (["status", "--name", "x"], "to look at one: wm-train status x"),
    "status by --resume": (["--resume", "x", "status"], "takes no --resume: it starts no run"),
    "status of a preset": (["status", "--preset", "demo"], "takes no --preset"),
    "runs by --name": (["runs", "--name", "x"], "wm-train runs takes no --name"),
    "runs with --restart": (["runs", "--restart"], "to look at one: wm-train status NAME"),
    "presets with --resume": (["presets", "--resume", "x"], "wm-train presets takes no --resume"),
    "replay of a preset": (
        ["replay", "x", "--preset", "demo"],
        "wm-train replay takes no --preset",
    ),
    "no section optim": (
        ["--preset", "no-optim.yaml"],
        "preset no-optim.yaml: optim.learning_rate is missing",
    ),
    "an empty section optim": (
        ["--preset", "empty-optim.yaml", "--seed", "1"],
        "preset empty-optim.yaml: optim.learning_rate is missing",
    ),
    "no section data": (
        ["--preset", "no-data.yaml"],
        "preset no-data.yaml: data.recipe or data.path is missing",
    ),
    "no section data, to plan": (
        ["plan", "--preset", "no-data.yaml"],
        "preset no-data.yaml: data.recipe or data.path is missing",
    ),
    "no section data but an option": (
        ["--preset", "no-data.yaml", "--data.path", "nowhere"],
        "nowhere: no such folder",
    ),
    "no section model": (["--preset", "no-model.yaml"], "no-model.yaml: model.base is missing"),
    "option without its value": (["--preset", "demo", "--seed"], "--seed requires an argument"),
    "seed below zero": (["--preset", "demo", "--seed", "-1"], "--seed: Input should be greater"),
    "seed above 32 bits": (["--preset", "demo", "--seed", str(2**32)], "--seed: Input should be"),
    "epochs without end": (
        ["--preset", "demo", "--optim.epochs", "inf"],
        "--optim.epochs: Input should be a finite number",
    ),
    "field of no name": (["--preset", "number.yaml"], "number.yaml: line 2, column 1: expected a"),
    "field given twice": (["--preset", "twice.yaml"], "twice.yaml: line 3, column 1: 'model'"),
    "restart of no run": (["--restart"], "give --resume NAME too"),
    "run of another version": (["--resume", "older"], "optim.momentum: Extra inputs are not"),
    "four bits without an adapter": (["--preset", "demo", "--model.four_bit"], "give model.lora"),
    "unknown preset": (["--preset", "dmo"], "no preset named 'dmo'; did you mean demo?"),
    "missing preset file": (["--preset", "x.yaml"], "preset file x.yaml cannot be read"),
    "malformed YAML": (["--preset", "broken.yaml"], "broken.yaml: line 2, column 6"),
    "unknown field in a preset": (["--preset", "typo.yaml"], "[optim][learningrate]"),
    "unknown option": (["--preset", "demo", "--optim.learningrate", "1"], "--optim.learning_rate"),
    "wrong type": (["--preset", "demo", "--optim.steps", "many"], "--optim.steps: Input should be"),
    "out of range": (["--preset", "demo", "--model.lora.r", "0"], "--model.lora.r: Input should"),
    "no twins to compare": (
        ["--preset", "demo", "--loss.contrast", "prompts", "--optim.no-twins"],
        "loss.contrast prompts compares a row's two watermark pairs",
    ),
    "rows do not fit": (["--preset", "demo", "--optim.batch_size", "16"], "take 12 or 18"),
    "missing data folder": (["--preset", "path.yaml"], "nowhere: no such folder"),
    "unknown recipe": (["--preset", "demo", "--data.recipe", "dmeo"], "dmeo"),
    "rows without red_answer": (["--preset", "rows.yaml"], "red_answer"),
    "batch is larger than the data": (
        [*QUICK, "--optim.batch_size", "60000"],
        "training pairs do not fill one batch of 60,000",
    ),
    "limit of a dataset that exists": (
        ["--preset", "demo", "--data.path", "x", "--data.limit", "5"],
        "for building from data.recipe alone",
    ),
    "no such repository": ([*QUICK, "--publish.repo_id", "me"], "--publish.repo_id: no name"),
    "nothing to merge": ([*QUICK, "--publish.merge"], "error: publish.merge merges an adapter"),
    "no such project": ([*QUICK, "--tracking.project", "a/b"], "tracking settings"),
    "runs folder is a file": (["--preset", "demo", "--runs-dir", "rows.jsonl/x"], "cannot be made"),
    "name is too long": (["--preset", "demo", "--name", "x" * 300], "cannot be made"),
    "name is a path": (["--preset", "demo", "--name", "../x"], "give a bare name"),
    "name is taken": (["--preset", "demo", "--name", "taken"], "exists already"),
    "status of no run": (["status", "x"], "x is no run"),
    "runs of no folder": (["runs", "--runs-dir", "nowhere"], "nowhere: no such folder"),
    "replay of nothing": (["replay", "nowhere/at/all"], "no such file or folder"),
    "replay of a folder that is no run": (["replay", "."], "it is no run folder"),
    "missing base": (
        [*QUICK, "--model.base", "./nowhere"],
        "model.base './nowhere' cannot be loaded",
    ),
}


@pytest.fixture
def workplace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_manifest: Callable[..., RunManifest]
) -> Path:
    monkeypatch.chdir(tmp_path)
    demo = "model: {base: demo}\noptim: {learning_rate: 0.001}\n"
    files = {
        "broken.yaml": "model: {base: demo\noptim: [\n",
        "typo.yaml": "model: {base: demo}\ndata: {recipe: demo}\noptim: {learningrate: 0.001}\n",
        "no-optim.yaml": "model: {base: demo}\ndata: {recipe: demo}\n",
        "empty-optim.yaml": "model: {base: demo}\ndata: {recipe: demo}\noptim:\n",
        "no-data.yaml": demo,
        "no-model.yaml": "data: {recipe: demo}\noptim: {learning_rate: 0.001}\n",
        "path.yaml": demo + "data: {path: nowhere}\n",
        "rows.yaml": demo + "data: {recipe: rows-recipe.yaml}\n",
        "rows-recipe.yaml": "name: rows\nsources:\n  - id: rows\n    file: rows.jsonl\n",
        "number.yaml": "seed: 1\n1: 2\n",
        "twice.yaml": demo + "model: {base: demo}\n",
        "rows.jsonl": BAD_DATASET,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    (tmp_path / "runs/taken").mkdir(parents=True)
    (tmp_path / "runs/older").mkdir()
    fields = presets.load("demo")
    config = fields | {"optim": fields["optim"] | {"momentum": 0.9}}
    save(make_manifest(config=config), tmp_path / "runs/older/manifest.json")
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_line_and_exit_code_2(
    case: str,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    args, expected = CASES[case]
    assert wm_train(monkeypatch, *args) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert expected in lines[0]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_in_a_replay_has_its_own_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], number: int, code: int
) -> None:
    def stopped(*_: Any) -> int:
        raise Stopped(number)

    monkeypatch.setattr(commands.Replay, "make", stopped)
    assert wm_train(monkeypatch, "replay", "somebody/run") == code
    assert capfd.readouterr().err == "interrupted\n"


def test_help_shows_every_field(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["wm-train", "--help"])
    cli.main()
    text = capsys.readouterr().out
    for option in ("--preset", "--name", "--runs-dir", "--model.lora.r", "--loss.beta", "presets"):
        assert option in text
    usage, _, rest = text.partition("\n\n")
    assert usage.splitlines() == [
        "Usage: wm-train [--preset NAME] [OPTIONS]",
        "       wm-train COMMAND [OPTIONS]",
    ]
    assert "of a bare wm-train, qwen3-0.6b. The defaults shown" in " ".join(rest.split())


def test_presets_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["wm-train", "presets"])
    cli.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == presets.names()
    assert all(len(line.split()) > 4 for line in lines)


def test_the_list_says_which_presets_take_several_devices() -> None:
    several = [name for name in presets.names() if "on 8 GPUs" in presets.description(name)]
    assert several == [
        name for name in presets.names() if presets.load(name)["model"].get("sharded")
    ]
    assert several == ["qwen3-14b-full", "qwen3-8b-full"]


def test_a_bare_command_is_the_default_preset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # a run folder is made
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(
        cli, "_train", lambda config, preset, *_: seen.append((config.model.base, preset))
    )
    monkeypatch.setattr(sys, "argv", ["wm-train"])
    cli.main()
    assert seen == [("Qwen/Qwen3-0.6B", "qwen3-0.6b")]


def test_it_is_a_module_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wm_train", "presets"], capture_output=True, text=True, check=True
    )
    assert "demo" in done.stdout


# files that stand in the folder of --name -> whether a run may begin or go on there
FOLDERS = {
    "killed at once": ([".lock"], True),
    "killed before its first manifest": ([".lock", "config.yaml", "code.patch"], True),
    "killed while it wrote that": ([".lock", "config.yaml", ".manifest.json.123.tmp"], True),
    "a run": ([".lock", "manifest.json", "log.jsonl"], True),
    "empty": ([], False),
    "somebody else's": ([".lock", "thesis.docx"], False),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_name_that_is_there_is_gone_on_with_if_it_is_a_run(case: str, tmp_path: Path) -> None:
    names, fits = FOLDERS[case]
    (tmp_path / "x").mkdir()
    for name in names:
        (tmp_path / "x" / name).touch()
    if fits:
        assert run_folder.of(tmp_path, "x", "demo") == tmp_path / "x"
    else:
        with pytest.raises(ConfigError, match="exists already and is no run"):
            run_folder.of(tmp_path, "x", "demo")


BAR = """
import sys
from wm_train import cli
sys.argv = ["wm-train", "presets"]
cli.main()
from tqdm.auto import tqdm
list(tqdm(range(3), desc="Converting and de-quantizing GGUF tensors..."))
"""


def test_no_bar_of_a_library_gets_into_a_log_file() -> None:
    done = subprocess.run([sys.executable, "-c", BAR], capture_output=True, text=True, check=True)
    assert done.stderr == ""
