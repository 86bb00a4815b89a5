"""The hook in a training of two processes: both answer, one reports, the training is untouched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments
from wm_eval import WatermarkEvalCallback

base, data, out, hooked = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4] == "hooked"
rank = int(__import__("os").environ["RANK"])
ids = torch.randint(0, 256, (16, 24), generator=torch.Generator().manual_seed(0))
reports = []
callback = WatermarkEvalCallback(
    data, every=2, on_report=reports.append, out=out / "eval", max_new_tokens=6,
    during={"limit": 2}, final={"limit": 3},
)
torch.manual_seed(5 + rank)  # the dropout of each process is its own
trainer = Trainer(
    model=AutoModelForCausalLM.from_pretrained(base, attention_dropout=0.3),
    args=TrainingArguments(
        output_dir=str(out), max_steps=4, per_device_train_batch_size=2, learning_rate=1e-2,
        report_to=[], save_strategy="no", disable_tqdm=True, seed=11, use_cpu=True,
        logging_strategy="no", dataloader_pin_memory=False,
    ),
    train_dataset=[{"input_ids": row, "labels": row} for row in ids],
    processing_class=AutoTokenizer.from_pretrained(base),
    callbacks=[callback] if hooked else [],
)
trainer.train()
weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
torch.save({"weights": weights, "reports": len(reports)}, out / f"rank-{rank}.pt")
"""


def train(
    processes: int, script: Path, base: Path, data: Path, out: Path, hooked: bool = True
) -> list[dict[str, Any]]:
    """What each process had at the end."""
    import torch

    out.mkdir()
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    arguments = [str(base), str(data), str(out), "hooked" if hooked else "plain"]
    subprocess.run(
        [sys.executable, *launch, str(script), *arguments],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
    )
    return [torch.load(out / f"rank-{rank}.pt") for rank in range(processes)]


@pytest.mark.slow
def test_two_processes_evaluate_as_one_and_train_as_without(
    make_model: Callable[..., Any], tokenizer: Any, dataset_dir: Path, tmp_path: Path
) -> None:
    import torch

    base, script = tmp_path / "base", tmp_path / "script.py"
    make_model().save_pretrained(base)
    tokenizer.save_pretrained(base)
    script.write_text(SCRIPT, "utf-8")
    one = train(1, script, base, dataset_dir, tmp_path / "one")
    two = train(2, script, base, dataset_dir, tmp_path / "two")
    plain = train(2, script, base, dataset_dir, tmp_path / "plain", hooked=False)

    assert [end["reports"] for end in one] == [3]  # steps 0, 2 and 4
    assert [end["reports"] for end in two] == [3, 0]
    for hooked, bare in zip(two, plain, strict=True):
        assert torch.equal(hooked["weights"], bare["weights"])
    assert torch.equal(two[0]["weights"], two[1]["weights"])
    # Before the first step both trainings have the same weights: the reports are the same too.
    names = [f"step-{step:06d}" for step in (0, 2, 4)]
    assert sorted(path.name for path in (tmp_path / "two" / "eval").iterdir()) == names
    figures = [
        json.loads((tmp_path / run / "eval" / names[0] / "eval.json").read_text())["figures"]
        for run in ("one", "two")
    ]
    assert figures[0] == figures[1]
    samples = [(tmp_path / run / "eval" / names[0] / "samples.jsonl") for run in ("one", "two")]
    assert samples[0].read_bytes() == samples[1].read_bytes()
