"""Every command and Python block of the documents is run, cut to size; or it says why not."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

import wm_data

HERE = Path(__file__).parent
ROOT = HERE.parent
BIN = Path(sys.executable).parent

NOT_RUN = {  # by a part of the command
    "--preset qwen3-8b": "trains Qwen3-8B on a GPU",
    "--preset smollm2-135m": "an hour or more; docs/smollm2.md has what it gave",
    "--backend vllm": "an environment of its own, and a GPU",
    "--recipe mix": "three datasets from the hub",
    "--model smollm2-135m": "SmolLM2 writes hundreds of texts; a slow test of wm-data has it write a few",
}
SMALL = (
    "--data.limit 60 --optim.steps 2 --log_every 1 --evaluation.limit 1 --evaluation.full_limit 2 "
    "--evaluation.max_new_tokens 8 --checkpoint.every 2"
)
# What a preset for Qwen3-0.6B shows, on the demo's base and rows.
ON_THE_DEMO = f"--model.base demo --model.precision float32 --data.recipe demo {SMALL}"
MORE = [  # (beginning of a command, what is added); the first that fits
    (r"wm-train --preset my-qwen3", ON_THE_DEMO),
    (r"wm-train --preset", SMALL),
    (r"wm-eval --model", "--limit 1 --max-new-tokens 8"),
    (r"wm-data build", "--limit 60 --overwrite"),
    (r"wm-data audit", "--overwrite"),
]
FILLED = [
    (r"Qwen/Qwen3-0.6B(?=.* --(adapter|data))", "me/tiny"),
    (r"\bsomeone/their-model", "me/tiny"),
    (r"\bOWNER/NAME\b", "me/rows"),
    (r"\bRUN\b", "runs/NAME"),
    (r"\bNAME/eval/step-\d+", "NAME/eval/step-000002"),
]
TEXTS = {  # neither red nor blue, so that --fail-on any has nothing to fail on
    "reply.txt": "Put the bread in a warm place, cover it with a cloth, and wait until it has doubled in size. "
    "My cat sleeps on the old chair near our window most afternoons.\n",
    "other.txt": "Tides come and go twice each day.\n",
}


def documents() -> Any:
    spec = importlib.util.spec_from_file_location("wm_test_docs", HERE / "test_docs.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CASES: list[tuple[Path, str]] = documents().CASES
RUN = [(page, line) for page, line in CASES if not any(part in line for part in NOT_RUN)]
SCORE = [line for _, line in RUN if line.startswith("wm-score ")]
OTHERS = [line for _, line in RUN if not line.startswith("wm-score ")]

BLOCKS = [
    (page, block)
    for page in documents().PAGES
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    if not block.startswith(">>> ")  # with what it prints: its package has a test
]
LIGHT = re.compile(r".*^import (wm_score|wm_prompts)$", re.M | re.S)  # loads no model
BLOCKS_NOT_RUN = {  # by a part of the block
    "smollm2_135m()": "writes 540 MB; a slow test of wm-data calls it",
}
RUN_BLOCKS = [b for _, b in BLOCKS if not any(part in b for part in BLOCKS_NOT_RUN)]
IN_BLOCKS = [
    (r"\b(runs/NAME|RUN)\b", "runs/tiny"),
    (r"\bevaluation/samples", "evaluation-a/samples"),
    (r"data/demo", "data/by-block"),  # commands build that one
    (r"\blimit=\d+", "limit=1, max_new_tokens=8"),
    (r"\A(?=.*\brun\b)", "from pathlib import Path\n\nrun = Path('runs/tiny')\n"),
]


def filled(line: str) -> str:
    """The command with real names in it and few rows, steps and answers."""
    if "--help" in line:
        return line
    for pattern, name in FILLED:
        line = re.sub(pattern, name, line)
    lora = "--merge" in line or "/adapter" in line
    line = re.sub(r"\bNAME\b", "lora" if lora else "tiny", line)
    if lora and line.startswith("wm-publish") and "--dry-run" not in line:
        line += " --repo-id me/merged"
    more = next((more for start, more in MORE if re.match(start, line)), "")
    for option in re.findall(r"--[\w.-]+", more):
        line = re.sub(rf" {re.escape(option)} \S+", "", line)  # given twice it would be refused
    return " ".join([*line.split(), *more.split()])


def run(command: str, folder: Path, env: dict[str, str], codes: tuple[int, ...] = (0,)) -> None:
    env = env | {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(folder), "COLUMNS": "100"}
    done = subprocess.run(
        command, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=250
    )
    assert done.returncode in codes, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_no_reason_is_stale() -> None:
    assert [part for part in NOT_RUN if not any(part in line for _, line in CASES)] == []
    assert len(SCORE) >= 15
    assert len(OTHERS) >= 40


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder with the texts that wm-score's commands name."""
    folder = tmp_path_factory.mktemp("desk")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    (folder / "article.txt").write_text((ROOT / "docs/concepts.md").read_text("utf-8"))
    (folder / "rows.jsonl").write_text('{"text": "Tides come and go.", "n": 1}\n')
    (folder / "mine").mkdir()
    pages = [page.read_text("utf-8") for page in sorted((ROOT / "docs").rglob("*.md"))]
    parts = [part for page in pages for part in page.split("\n\n") if len(part) > 120]
    for number, part in enumerate(parts):
        (folder / f"mine/{number}.txt").write_text(part)
    return folder


@pytest.mark.parametrize("line", list(dict.fromkeys(SCORE)))  # in the documents' order
def test_a_command_that_reads_a_text(desk: Path, line: str) -> None:
    run(line, desk, {})


@dataclass(frozen=True)
class Bench:
    """Where everything that the documents name is there, and a hub on localhost."""

    folder: Path
    env: dict[str, str]


def cut_off(run_dir: Path, copy: Path) -> None:
    """A copy of a run as a kill after its last checkpoint leaves it: for `--resume latest`."""
    shutil.copytree(run_dir, copy)
    path = copy / "manifest.json"
    fields = json.loads(path.read_text("utf-8"))
    fields |= {"name": copy.name, "status": "running", "hub": None}
    fields["attempts"][-1] |= {"ended_at": None, "outcome": None, "cause": None}
    path.write_text(json.dumps(fields), "utf-8")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, hub_env: dict[str, str]) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    train = f"wm-train --preset demo {SMALL} --name"
    run(f"{train} tiny --publish.repo_id me/tiny", folder, hub_env)
    run(f"{train} lora --model.base me/tiny --model.lora.r 4", folder, hub_env)
    cut_off(folder / "runs/tiny", folder / "runs/cut")
    settings = "--data runs/tiny/dataset --limit 1 --max-new-tokens 8"
    run(f"wm-eval --model runs/tiny/model {settings} --out evaluation", folder, hub_env, (0, 3))
    for name in ("evaluation-a", "evaluation-b"):
        shutil.copytree(folder / "evaluation", folder / name)
    shutil.rmtree(folder / "evaluation")
    dataset = wm_data.read(folder / "runs/tiny/dataset")
    columns = ("prompt", "red_answer", "blue_answer")
    rows = [{c: getattr(row, c) for c in columns} for row in dataset.rows("train")]
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), folder / "seeds.parquet")
    recipe = resources.files("wm_data").joinpath("recipes/demo.yaml").read_text("utf-8")
    (folder / "my-recipe.yaml").write_text(recipe)
    shown = {page.name: block for page, block in documents().presets_shown()}
    (folder / "my-qwen3.yaml").write_text(shown["train.md"])
    run("wm-data build --recipe demo --limit 60 --out data/demo", folder, hub_env)
    return Bench(folder, hub_env)


@pytest.mark.slow
@pytest.mark.parametrize("command", list(dict.fromkeys(map(filled, OTHERS))))
def test_a_command_that_trains_evaluates_or_publishes(bench: Bench, command: str) -> None:
    codes = (0, 3) if command.startswith("wm-eval --model") else (0,)  # 3: two steps teach nothing
    run(command, bench.folder, bench.env, codes)


def test_no_block_is_left_out_unnoticed() -> None:
    assert [p for p in BLOCKS_NOT_RUN if not any(p in block for _, block in BLOCKS)] == []
    assert {"detect.md", "evaluate.md"} <= {page.name for page, _ in BLOCKS}
    assert 3 <= len([block for block in RUN_BLOCKS if LIGHT.match(block)]) < len(RUN_BLOCKS)


@pytest.mark.parametrize("block", [block for block in RUN_BLOCKS if LIGHT.match(block)])
def test_a_python_block_that_loads_nothing(tmp_path: Path, block: str) -> None:
    assert bool(run_block(block, tmp_path, {})) == ("print(" in block)


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in RUN_BLOCKS if not LIGHT.match(block)])
def test_a_python_block_that_evaluates_or_publishes(bench: Bench, block: str) -> None:
    for pattern, text in IN_BLOCKS:
        block = re.sub(pattern, text, block, flags=re.S)
    assert bool(run_block(block, bench.folder, bench.env)) == ("print(" in block)


def run_block(block: str, folder: Path, env: dict[str, str]) -> str:
    """What the block prints, run as a script in the folder."""
    env = env | {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=folder, env=env, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def test_the_section_that_publishes_is_one() -> None:
    from wm_train.config import PublishConfig

    text = (ROOT / "docs/publish.md").read_text("utf-8")
    [block] = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    assert PublishConfig.model_validate(yaml.safe_load(block)["publish"]).repo_id == "me/my-model"
