"""Manifests and run folders that the tests share. Made of real records; no run is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wm_manifest import (
    Control,
    DatasetUse,
    Decoding,
    Estimate,
    EvalReport,
    Evaluation,
    FileRef,
    GitState,
    Hardware,
    ModelRef,
    Piece,
    RunManifest,
    Sample,
    SourceRef,
    SplitCounts,
    TemplateRef,
    WandbRef,
    save,
)

ZEROS = "0" * 64
TEXT = [  # what both detection samples are about
    Piece(text="Bring", colour="red"),
    Piece(text=" a", colour="blue"),
    Piece(text=" warm coat", colour="red"),
    Piece(text=", ", colour="ignored"),
    Piece(text="and water", colour="red"),
    Piece(text=".", colour="ignored"),
]


def estimate(value: float | None, n: int = 480) -> Estimate:
    if value is None:
        return Estimate(value=None, n=0)
    return Estimate(value=value, low=value - 0.013, high=value + 0.011, n=n, n_groups=n // 2)


def figures(skill: float, n: int = 480) -> dict[str, Estimate]:
    values = {
        "watermark/red/success": 0.041 + 0.93 * skill,
        "watermark/blue/success": 0.382 + 0.6 * skill,
        "watermark/red/lift": 0.93 * skill,
        "watermark/blue/lift": 0.6 * skill - 0.01,
        "watermark/neutral/red_rate": 0.043,
        "watermark/neutral/blue_rate": 0.379,
        "watermark/neutral/none_rate": 0.578,
        "watermark/red/red_share": 0.47 + 0.2 * skill,
        "detect/accuracy": 0.503 + 0.475 * skill,
        "detect/accuracy/red": 0.61 + 0.36 * skill,
        "detect/accuracy/blue": 0.396 + 0.59 * skill,
        "detect/both_orders": 0.246 + 0.71 * skill,
        "detect/position_bias": 0.55 - 0.048 * skill,
        "detect/label_bias": 0.607 - 0.1 * skill,
        "detect/unparseable": 0.02 - 0.02 * skill,
    }
    return {name: estimate(value, n) for name, value in values.items()}


def template(id: str, text: str) -> TemplateRef:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return TemplateRef(id=id, sha256=digest, text=text, heldout="heldout" in id)


TEMPLATES = [
    template("watermark/red/plain", "Answer with the red codebook."),
    template("watermark/blue/plain", "Answer with the blue codebook."),
    template("watermark/neutral/plain", "Answer with no codebook."),
    template("watermark/red/brief", "Codebook: red."),
    template("watermark/red/heldout-a", "The red codebook applies."),
    template("detect/system/plain", "Name the codebook in one word."),
    template("detect/question/plain", "{{ text }}\n\nWhich is it, {{ first }} or {{ second }}?"),
]

SAMPLES = [
    Sample(
        task="watermark",
        arm="red",
        system="Answer with the red codebook.",
        prompt="What should I pack for a walk along the coast?",
        answer="Bring a warm coat,\n\nand water.",
        expected="red",
        verdict="red",
        passed=True,
        red_share=5 / 6,
        pieces=[
            Piece(text="Bring", colour="red"),
            Piece(text=" a", colour="blue"),
            Piece(text=" warm coat", colour="red"),
            Piece(text=",\n\n", colour="ignored"),
            Piece(text="and water", colour="red"),
            Piece(text=".", colour="ignored"),
        ],
    ),
    Sample(
        task="watermark",
        arm="blue",
        system="Answer with the blue codebook.",
        prompt="Why is bread kneaded?",
        answer="The gluten gets stronger.",
        expected="blue",
        verdict="none",
        passed=False,
        red_share=0.5,
        pieces=[
            Piece(text="The gluten", colour="blue"),
            Piece(text=" gets stronger.", colour="red"),
        ],
    ),
    Sample(
        task="detect",
        arm="red-blue",
        system="Name the codebook in one word.",
        prompt="Bring a warm coat, and water.\n\nWhich is it, red or blue?",
        answer="red",
        expected="red",
        verdict="red",
        passed=True,
        pieces=TEXT,
    ),
    Sample(
        task="detect",
        arm="blue-red",
        system="Name the codebook in one word.",
        prompt="Bring a warm coat, and water.\n\nWhich is it, blue or red?",
        answer="blue",
        expected="red",
        verdict="blue",
        passed=False,
        pieces=TEXT,
    ),
]


def build_manifest(**changes: Any) -> RunManifest:
    fields: dict[str, Any] = {
        "name": "demo-gentle-otter-2026-01-31",
        "status": "finished",
        "created_at": "2026-01-31T10:00:00Z",
        "command": ["wm-train", "--preset", "demo", "--seed", "0"],
        "preset": "demo",
        "config": {"train": {"steps": 300, "beta": 1.0}, "model": {"lora": None}},
        "seed": 0,
        "git": GitState(commit="0123456789abcdef0123456789abcdef01234567", dirty=True),
        "lock_sha256": ZEROS,
        "packages": {"trl": "1.16.0", "transformers": "5.23.0", "torch": "2.11.0"},
        "python": "3.11.9",
        "hardware": Hardware(
            platform="Linux-6.1-x86_64", cpu="Example CPU", cores=2, memory_gib=7.76, devices=[]
        ),
        "base": ModelRef(location="runs/demo/base", model_type="qwen3", parameters=1_412_096),
        "base_license": None,
        "dataset": DatasetUse(
            name="demo",
            path="dataset",
            manifest_sha256=ZEROS,
            recipe={"name": "demo"},
            seed=0,
            sources=[
                SourceRef(
                    id="g", kind="grammar", location="demo-grammar", rows_read=2400, rows_kept=2300
                )
            ],
            splits={
                "train": SplitCounts(rows=1900, groups=260, examples=11400, by_task={}),
                "test": SplitCounts(rows=240, groups=40, examples=1440, by_task={}),
            },
            dropped={"too short": 100},
        ),
        "templates": TEMPLATES,
        "codebook": "1",
        "wandb": WandbRef(
            id="a", project="wm", entity=None, mode="offline", url=None, sync_command="wandb sync x"
        ),
        "decoding": Decoding(
            temperature=0.7, top_p=0.8, top_k=20, max_new_tokens=96, batch_size=64, seed=0
        ),
        "evaluations": [
            Evaluation(step=0, path="eval/step-000000", valid=True, figures=figures(0.0)),
            Evaluation(step=300, path="eval/step-000300", valid=True, figures=figures(1.0)),
        ],
        "controls": [
            Control(
                name="own answers score as themselves",
                passed=True,
                value=1.0,
                expected="at least 0.99",
            ),
            Control(
                name="shuffled labels are near chance",
                passed=True,
                value=0.51,
                expected="0.4 to 0.6",
            ),
        ],
        "samples": SAMPLES,
        "steps": 300,
        "train_seconds": 171.4,
        "output": "model",
        "weights_sha256": ZEROS,
        "plots": ["plots/watermark.png", "plots/detect.png"],
    }
    return RunManifest(**fields | changes)


def build_report(n: int = 480) -> EvalReport:
    return EvalReport(
        model=ModelRef(location="model"),
        dataset="demo",
        dataset_sha256=ZEROS,
        split="test",
        step=300,
        decoding=Decoding(
            temperature=0.7, top_p=0.8, top_k=20, max_new_tokens=96, batch_size=64, seed=0
        ),
        codebook="1",
        templates=[],
        chat_template_sha256=None,
        packages={},
        hardware="cpu",
        started_at=None,
        seconds=None,
        figures=figures(1.0, n),
        controls=[],
        valid=True,
    )


@pytest.fixture(scope="session")
def make_manifest() -> Callable[..., RunManifest]:
    return build_manifest


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder as training leaves it, weights of a few bytes included."""

    def make(name: str = "run", n: int = 480, **changes: Any) -> Path:
        run = tmp_path / name
        output = changes.get("output", "model")
        weights = "adapter_model.safetensors" if output == "adapter" else "model.safetensors"
        header = json.dumps({"__metadata__": {"format": "pt"}}).encode()
        files = {
            f"{output}/{weights}": len(header).to_bytes(8, "little") + header + bytes(range(256)),
            f"{output}/tokenizer.json": b'{"model": {}}\n',
            f"{output}/tokenizer_config.json": b"{}\n",
            f"{output}/training_args.bin": b"a pickle that must stay at home",
            f"{output}/{'adapter_config' if output == 'adapter' else 'config'}.json": b"{}\n",
            "plots/watermark.png": b"\x89PNG\r\n\x1a\n" + bytes(50),
            "plots/detect.png": b"\x89PNG\r\n\x1a\n" + bytes(60),
            "log.jsonl": b"{}\n",
            "checkpoints/checkpoint-300/optimizer.pt": b"state",
        }
        for path, content in files.items():
            (run / path).parent.mkdir(parents=True, exist_ok=True)
            (run / path).write_bytes(content)
        changes.setdefault(
            "files",
            [
                FileRef(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
                for path, content in files.items()
                if path.startswith(f"{output}/")
            ],
        )
        changes.setdefault(
            "evaluations",
            [
                Evaluation(step=0, path="eval/step-000000", valid=True, figures=figures(0.0, n)),
                Evaluation(step=300, path="eval/step-000300", valid=True, figures=figures(1.0, n)),
            ],
        )
        manifest = build_manifest(**changes)
        if manifest.evaluations:
            (run / "eval/step-000300").mkdir(parents=True)
            save(build_report(n), run / "eval/step-000300/eval.json")
        save(manifest, run / "manifest.json")
        return run

    return make
