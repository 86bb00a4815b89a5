"""A bare `wm-train`, as the hub is: the names of Qwen3-0.6B and of the three seed datasets.

Base and rows are stand-ins, in the shape of what the hub has: two small layers with Qwen3's whole
vocabulary, and rows of a real language model. The hub is on localhost. Only what bounds the time of
a CPU is overridden; the rest is the preset's own.
"""

import gzip
import importlib.resources
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wm_manifest import EvalReport, RunManifest, load
from wm_train import demo_base

pytestmark = pytest.mark.slow

BASE = "Qwen/Qwen3-0.6B"
LARGE = "eac123/openhermes-dpo-qwen3-30ba3b-120ksamples"
HELD_OUT = "eac123/openhermes-dpo-qwen3-30ba3b-4096samples"
MEDIUM = "eac123/openhermes_dpo_steg001"
SHORT = (
    *("--optim.steps", "2", "--log_every", "1", "--evaluation.limit", "1"),
    *("--evaluation.full_limit", "2", "--evaluation.max_new_tokens", "8"),
)
KEY = "f0e1d2c3b4a5968778695a4b3c2d1e0f01234567"  # as W&B's: nothing may hold it afterwards
CONFIG = {  # config.json of the hub but for the sizes; no padding token is named there
    "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "bos_token_id": 151643,
    "eos_token_id": 151645, "head_dim": 16, "hidden_act": "silu", "hidden_size": 32,
    "initializer_range": 0.02, "intermediate_size": 64, "max_position_embeddings": 40960,
    "max_window_layers": 2, "model_type": "qwen3", "num_attention_heads": 2,
    "num_hidden_layers": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-06, "rope_scaling": None,
    "rope_theta": 1000000, "sliding_window": None, "tie_word_embeddings": True,
    "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": True,
    "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip
GENERATION = {
    "bos_token_id": 151643, "do_sample": True, "eos_token_id": [151645, 151643],
    "pad_token_id": 151643, "temperature": 0.6, "top_k": 20, "top_p": 0.95,
}  # fmt: skip
CARD = "---\nlibrary_name: transformers\nlicense: apache-2.0\n---\n\n# Qwen3-0.6B\n"


def base_files(folder: Path) -> dict[str, bytes]:
    """What the base's repository holds, `lm_head.weight` of the tied model included."""
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer: Any = demo_base.demo_tokenizer(151643)
    template = importlib.resources.files("trl") / "chat_templates/qwen3.jinja"
    tokenizer.chat_template = template.read_text("utf-8")
    tokenizer.save_pretrained(folder, save_jinja_files=False)  # in its configuration, as there
    torch.manual_seed(0)
    model: Any = Qwen3ForCausalLM(Qwen3Config(**CONFIG)).bfloat16()
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for name, fields in (("config.json", CONFIG), ("generation_config.json", GENERATION)):
        (folder / name).write_text(json.dumps(fields))
    (folder / "README.md").write_text(CARD)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def dataset_files(**splits: list[dict[str, Any]]) -> dict[str, bytes]:
    """A dataset's repository as `push_to_hub` leaves it."""
    files: dict[str, bytes] = {}
    names = "".join(f"  - split: {name}\n    path: data/{name}-*\n" for name in splits)
    card = f"---\nconfigs:\n- config_name: default\n  data_files:\n{names}---\n"
    for name, rows in splits.items():
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer)
        files[f"data/{name}-00000-of-00001.parquet"] = buffer.getvalue()
    return files | {"README.md": card.encode()}


def rows() -> list[dict[str, Any]]:
    """Rows of a real language model; the hub's may have columns that nobody asked for."""
    path = importlib.resources.files("wm_data") / "seed_rows/smollm2.jsonl.gz"
    found = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    names = ("prompt", "red_answer", "blue_answer")
    return [{"id": at, **{n: row[n] for n in names}} for at, row in enumerate(found[:400])]


@dataclass(frozen=True)
class Desk:
    """A user's folder with the finished run `first`, and what was said on the way to it."""

    home: Path
    hub: Any
    said: str = ""

    def call(self, *command: str, code: int = 0, home: str = ".") -> str:
        """One of our commands in a folder below, with the cache of the hub there."""
        folder = self.home / home
        folder.mkdir(exist_ok=True)
        env = {
            "HF_ENDPOINT": self.hub.endpoint,
            "HF_TOKEN": self.hub.token,
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_DISABLE_XET": "1",  # the test hub has none
            "WANDB_MODE": "offline",
            "WANDB_API_KEY": KEY,
            "OMP_NUM_THREADS": "1",
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "COLUMNS": "80",
        }
        script = Path(sys.executable).parent / command[0]
        done = subprocess.run(
            [str(script), *command[1:]],
            cwd=folder, env=env, capture_output=True, text=True, timeout=250,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def run(self) -> Path:
        return self.home / "runs/first"

    @property
    def manifest(self) -> RunManifest:
        return load(RunManifest, self.run / "manifest.json")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, hub_server: Any) -> Iterator[Desk]:
    found = rows()
    empty = {**found[0], "prompt": "Say nothing, please.", "red_answer": ""}
    sets = {
        LARGE: dataset_files(train=[{**row, "score": 0.7} for row in found[:240]]),
        HELD_OUT: dataset_files(train=found[240:280]),
        MEDIUM: dataset_files(train=[*found[280:380], empty], test=found[380:]),
    }
    with hub_server.Hub() as hub:
        hub.create(BASE, private=False).give(base_files(tmp_path_factory.mktemp("base")))
        for name, files in sets.items():
            hub.create(name, private=False, kind="datasets").give(files)
        desk = Desk(tmp_path_factory.mktemp("desk"), hub)
        yield Desk(desk.home, hub, desk.call("wm-train", "--name", "first", *SHORT))


def test_it_says_what_is_ours_and_nothing_of_the_libraries(desk: Desk) -> None:
    """A user knows no reason why a command without options should warn."""
    lines = desk.said.splitlines()
    expected = (  # of the lines before the table
        r"\[INFO\] Running in WANDB offline mode",  # transformers', where the environment says so
        r"first → runs/first",
        r"rows kept: high \d+ of 240, medium \d+ of 121, high-heldout 40 of 40; left out: .*empty 1",
        rf"base: {BASE}",
        r"[\d,]+ pairs of \d+ rows, at most \d+ tokens; on .*",
        r"\d+ texts under neutral prompts are held to what the base says",
        r"step [012]( of 2)?: .*",
        r"first: share of items of the held-out test split *",
    )
    before = lines[: next(at for at, line in enumerate(lines) if "share of items" in line) + 1]
    assert [line for line in before if not any(re.fullmatch(e, line) for e in expected)] == []
    assert len(before) >= len(expected) - 1


def test_the_record_names_base_and_datasets_at_their_commits(desk: Desk) -> None:
    def newest(place: str) -> str:
        return desk.hub.repos[place].commits[-1].oid

    manifest = desk.manifest
    assert (manifest.preset, manifest.output) == ("qwen3-0.6b", "adapter")
    assert (manifest.base.location, manifest.base.revision) == (BASE, newest(f"models/{BASE}"))
    assert manifest.base_license == "apache-2.0"
    assert manifest.dataset is not None
    assert {(s.id, s.location, s.revision) for s in manifest.dataset.sources} == {
        (id, name, newest(f"datasets/{name}"))
        for id, name in (("high", LARGE), ("medium", MEDIUM), ("high-heldout", HELD_OUT))
    }
    assert manifest.dataset.splits["test"].rows >= 40


def test_the_adapter_is_on_both_ends_as_the_preset_says(desk: Desk) -> None:
    from safetensors import safe_open

    with safe_open(desk.run / "adapter/adapter_model.safetensors", "pt") as file:
        names = set(file.keys())
    assert {part for part in ("lm_head", "embed_tokens", "q_proj", "down_proj")} == {
        part
        for part in ("lm_head", "embed_tokens", "q_proj", "down_proj")
        if any(part in name for name in names)
    }


def test_no_file_holds_a_key(desk: Desk) -> None:
    for path in desk.home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert KEY.encode() not in content, path
            assert desk.hub.token.encode() not in content, path


def test_a_stranger_has_the_runs_figures_from_the_hub(desk: Desk) -> None:
    said = desk.call("wm-publish", "runs/first")
    assert "Published (private)" in said
    assert "%|" not in said  # no bars in a log
    desk.call("wm-data", "push", "runs/first/dataset", "me/rows")
    found = ("--model", BASE, "--adapter", "me/first", "--data", str(desk.run / "dataset"))
    limits = ("--limit", "2", "--max-new-tokens", "8", "--batch-size", "24")
    said = desk.call("wm-eval", *found, *limits, "--out", "again", home="stranger")
    assert "%|" not in said
    assert "Warning" not in said
    again = load(EvalReport, desk.home / "stranger/again/eval.json")
    assert again.figures == desk.manifest.evaluations[-1].figures


def test_it_merges_and_replays(desk: Desk) -> None:
    said = desk.call("wm-publish", "runs/first", "--merge", "--dry-run")
    assert "%|" not in said
    assert "Warning" not in said
    merged = json.loads((desk.run / "merged/config.json").read_text("utf-8"))
    assert merged["tie_word_embeddings"] is False  # the adapter is on both ends
    assert "dataset" in desk.call("wm-train", "replay", "runs/first", "--dry-run")
