"""Two processes make the update of one: the same rows in a step, divided by what all of them hold."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
SCRIPT = """
import sys
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.experimental.orpo import ORPOConfig
from wm_train import processes, references, sharded
from wm_train.config import ModelConfig
from wm_train.trainer import WatermarkOrpoTrainer

base, out, scope, contrast, pairs = *sys.argv[1:5], int(sys.argv[5])
as_presets = "as the presets" in sys.argv
in_parts = ModelConfig(
    base=base, sharded="in parts" in sys.argv, precision="bfloat16" if as_presets else "float32"
)
processes.number()


def row(i):
    red = [1 + i // 6 % 7] * (1 + i // 6 % 9)
    blue = [11 + i // 6 % 5, 12]
    written = i % 6 < 2  # a row's two written pairs trade their answers, as in a dataset
    chosen, rejected = (red, blue) if i % 2 else (blue, red)
    return {
        "id": str(i), "row_id": str(i // 6), "task": "watermark" if written else "detect",
        "prompt_ids": [i % 50, 7, 8] + [9] * (i % 5),
        "chosen_ids": chosen if written else [1 + i % 7], "rejected_ids": rejected if written else [12],
        "neutral_ids": [3, 7] if i % 12 == 1 else [],
    }


rows = [row(i) for i in range(96)]
trainer = WatermarkOrpoTrainer(
    model=AutoModelForCausalLM.from_pretrained(base, **sharded.loading(in_parts)),
    args=ORPOConfig(
        output_dir=out, report_to="none", bf16=as_presets, use_cpu=True, max_steps=4,
        optim="adamw_torch_fused" if as_presets else "sgd", weight_decay=0.01,
        learning_rate=1e-3 if as_presets else 0.1, per_device_train_batch_size=pairs,
        save_strategy="no", logging_steps=1,
        activation_checkpointing=as_presets, disable_dropout=False, remove_unused_columns=False,
        ddp_find_unused_parameters=False, dataloader_drop_last=True, seed=0, data_seed=0,
        dataloader_pin_memory=False, disable_tqdm=True,
    ),
    train_dataset=Dataset.from_list(rows),
    processing_class=AutoTokenizer.from_pretrained(base),
    nll_scope=scope, contrast=contrast, twins=True, pack_tokens=60, neutral_weight=2.0,
)
references.attach(trainer)
trainer.train()
with sharded.whole(trainer.model) as model:
    if trainer.accelerator.is_main_process:
        weights = torch.cat([p.detach().flatten() for p in model.parameters()])
        torch.save({"weights": weights, "log": trainer.state.log_history}, out + "/result.pt")
"""


WAITING = """
import torch.distributed as dist
from wm_train import processes

assert processes.number() == 2
for group in (dist.group.WORLD, processes._group()):
    print(group._get_backend(__import__("torch").device("cpu")).options._timeout, flush=True)
"""


def untied(base: Path, folder: Path) -> Path:
    """The same model with a head of its own, of other weights than the embeddings'."""
    model = AutoModelForCausalLM.from_pretrained(base)
    model.config.tie_word_embeddings = False
    torch.manual_seed(0)
    apart = type(model)(model.config)
    apart.model.load_state_dict(model.model.state_dict())
    apart.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_processes_wait_for_each_other_while_one_reads_a_large_dataset(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(WAITING, "utf-8")
    done = subprocess.run(
        [*LAUNCH, "--nproc_per_node=2", str(script)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
    )
    assert sorted(done.stdout.split("\n")[:-1]) == ["2:00:00"] * 2 + ["7 days, 0:00:00"] * 2


def ended(
    base: Path, folder: Path, processes: int, scope: str, contrast: str, how: list[str]
) -> dict[str, Any]:
    """Weights and log of a training of so many processes."""
    out, script = folder / f"{processes}", folder / "script.py"
    out.mkdir()
    script.write_text(SCRIPT, "utf-8")
    launch = [*LAUNCH, f"--nproc_per_node={processes}", str(script)]
    asked = [str(base), str(out), scope, contrast, str(12 // processes), *how]
    subprocess.run(
        [*launch, *asked],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
    )
    return torch.load(out / "result.pt", weights_only=False)


@pytest.mark.slow
def test_parts_learn_as_the_whole_as_the_presets_have_them(base_dir: Path, tmp_path: Path) -> None:
    """In bfloat16, recomputing, with AdamW, and a head of its own: as near as its rounding is."""
    base, how = untied(base_dir, tmp_path / "untied"), ["in parts", "as the presets"]
    one, two = (ended(base, tmp_path, n, "answer", "prompts", how) for n in (1, 2))
    losses = [[line["loss"] for line in end["log"][:4]] for end in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert losses[0][3] < losses[0][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scope", "contrast", "parts", "tied"),
    [
        ("answer", "answers", [], True),
        ("full", "answers", [], True),
        ("answer", "prompts", [], True),
        ("full", "answers", ["in parts"], True),
        ("answer", "prompts", ["in parts"], True),
        ("answer", "prompts", ["in parts"], False),  # as those are that are large enough for it
    ],
)
def test_two_processes_are_one(
    base_dir: Path, tmp_path: Path, scope: str, contrast: str, parts: list[str], tied: bool
) -> None:
    base = base_dir if tied else untied(base_dir, tmp_path / "untied")
    one, two = (ended(base, tmp_path, n, scope, contrast, parts) for n in (1, 2))
    torch.testing.assert_close(one["weights"], two["weights"], atol=1e-6, rtol=0)
    for a, b in zip(one["log"][:4], two["log"][:4], strict=True):
        names = {"loss", "watermark/nll", "watermark/log_odds_ratio", "detect/margin"}
        for name in names | {"neutral/loss"} & (a.keys() | b.keys()):
            assert a[name] == pytest.approx(b[name], abs=1e-4)
    assert "neutral/loss" in one["log"][0]
