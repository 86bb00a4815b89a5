"""Times wm-train's engine against TRL's ORPOTrainer, and holds their losses together. Prints JSON.

    python benchmarks/train.py [--steps N] [--ways WAY ...] [--untied] [--lora]
    python benchmarks/train.py --device cuda --shape Qwen/Qwen3-0.6B --precision bfloat16 --rows 4

The model is a Qwen3 of random weights with the full vocabulary of 151,936: about 20 million of
them, or those of a published shape. The data is the real mixture in ids drawn by Zipf's law: a row
gives two watermark pairs (prompts of about 100 tokens, answers of about 250) and four detect pairs
(each text in two orders, an answer of one word). A step is one row, or `--rows` of them. Every way
trains in its own process on the same rows in the same order, with AdamW from the same weights:

- `trl`: TRL's trainer with its own collator and a row a batch. The peer for every bar: its
  likelihood term is a mean over a micro-batch, so a step of six pairs is the same update as ours
  only where the six are one micro-batch. Nothing but the order of the data is changed in it.
- `trl-1`: the same with a pair a batch and six accumulated: the least memory that a user of TRL
  can have for six pairs a step. Its likelihood term is another one, so its losses are not compared.
- `full`: ours with TRL's likelihood term; its loss of each step is held against `trl`'s.
- `answer`: ours as it is by default.

Seconds are the median of the steps after the first. Memory is the peak of what the process has
resident while it trains: `peak MiB` with libraries, model and data, which the bar is about;
`training MiB` is what is above that which was resident when training began. glibc is told to keep
what it has got: left alone it gives every large tensor back to the system, and page faults are then
two thirds of TRL's time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

VOCAB, PAD, END = 151_936, 151_643, 151_645
RED, BLUE = 1151, 6303  # any two ids: the answers of detect pairs
WAYS = ("trl", "trl-1", "full", "answer")
PAIRS_A_ROW = 6
MIB = 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description="wm-train against TRL's ORPOTrainer")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--untied", action="store_true", help="a head of its own")
    parser.add_argument("--lora", action="store_true", help="train an adapter of rank 16")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shape", help="as Qwen/Qwen3-0.6B; the weights are random")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rows", type=int, default=1, help="rows of six pairs a step")
    parser.add_argument("--answer-tokens", type=int, default=250, help="their mean")
    parser.add_argument("--pack-tokens", type=int, default=4096, help="of our forward passes")
    parser.add_argument("--head-chunk", type=int, help="tokens of logits at once in ours")
    parser.add_argument("--attention", choices=("sdpa", "flex_attention"), default="sdpa")
    parser.add_argument("--recompute", action="store_true", help="gradient checkpointing")
    parser.add_argument("--compile", action="store_true", help="torch.compile ours, by layer")
    parser.add_argument("--liger", action="store_true", help="ours with liger-kernel (install it)")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(train(options.child, options)))
        return 0
    result: dict[str, Any] = {
        "machine": machine(options.device),
        "versions": {n: metadata.version(n) for n in ("torch", "transformers", "trl", "wm-train")},
        "options": vars(options),
        "ways": {way: child(way) for way in options.ways},
    }
    for theirs in ("trl", "trl-1"):
        if theirs in result["ways"]:
            result[f"against {theirs}"] = {
                way: compared(result["ways"][theirs], ours, (theirs, way) == ("trl", "full"))
                for way, ours in result["ways"].items()
                if way in ("full", "answer")
            }
    print(json.dumps(result, indent=2))
    return 0


def machine(device: str) -> dict[str, Any]:
    found = {"python": platform.python_version(), "cpus": os.cpu_count()}
    if device == "cuda":
        import torch

        found["gpu"] = torch.cuda.get_device_name()
    return found


def child(way: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--child", way],
        check=True, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def compared(theirs: dict[str, Any], ours: dict[str, Any], same_loss: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "speed": theirs["seconds a step"] / ours["seconds a step"],
        "memory": ours["peak MiB"] / theirs["peak MiB"],
        "memory of training": ours["training MiB"] / theirs["training MiB"],
    }
    if same_loss:
        pairs = zip(theirs["losses"], ours["losses"], strict=True)
        worst = max(abs(a - b) for a, b in pairs)
        found |= {"steps": len(ours["losses"]), "largest difference of a step's loss": worst}
        found["equal to 1e-4"] = worst <= 1e-4
    return found


def resident(field: str) -> float:
    """MiB of this process: `VmRSS` now, `VmHWM` at its peak."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


# --------------------------------------------------------------------------------------------- data
def rows(number: int, seed: int, answer_tokens: int) -> list[dict[str, Any]]:
    """Pairs of `number` rows, six to a row, in the order in which they are trained on."""
    dice = random.Random(seed)
    weights = [1 / (rank + 10) for rank in range(PAD)]

    def ids(mean: int) -> list[int]:
        length = max(8, round(dice.gauss(mean, mean / 5)))
        return dice.choices(range(PAD), weights, k=length)

    out: list[dict[str, Any]] = []
    for row in range(number):
        prompt, answers = ids(80), (ids(answer_tokens), ids(answer_tokens))
        for colour in (0, 1):
            system = [*ids(20), RED + colour]
            out.append(
                pair(row, "watermark", system + prompt, answers[colour], answers[1 - colour])
            )
        for colour, words in ((0, (RED, BLUE)), (1, (BLUE, RED))):
            text = ids(20) + answers[colour]
            for order in ((RED, BLUE), (BLUE, RED)):
                question = [*text, 13, *order, 30]
                out.append(pair(row, "detect", question, [words[0]], [words[1]]))
    return out


def pair(
    row: int, task: str, prompt: list[int], chosen: list[int], rejected: list[int]
) -> dict[str, Any]:
    ids = {"prompt_ids": prompt, "chosen_ids": [*chosen, END], "rejected_ids": [*rejected, END]}
    return {"row_id": str(row), "task": task, **ids}


def as_trl(example: dict[str, Any]) -> dict[str, Any]:
    """The same pair in the columns of TRL's collator."""
    out: dict[str, Any] = {"prompt_input_ids": example["prompt_ids"]}
    for side in ("chosen", "rejected"):
        ids = example["prompt_ids"] + example[f"{side}_ids"]
        labels = [-100] * len(example["prompt_ids"]) + example[f"{side}_ids"]
        out |= {f"{side}_input_ids": ids, f"{side}_labels": labels}
        out[f"{side}_attention_mask"] = [1] * len(ids)
    return out


# ------------------------------------------------------------------------------------------ trainer
def train(way: str, options: argparse.Namespace) -> dict[str, Any]:
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    warnings.simplefilter("ignore")
    import datasets
    import torch
    from peft import LoraConfig
    from torch.utils.data import SequentialSampler
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    from wm_train.trainer import WatermarkOrpoTrainer

    datasets.disable_progress_bars()
    cuda = options.device == "cuda"
    model = random_model(options)
    pairs = PAIRS_A_ROW * options.rows
    examples = rows(options.steps * options.rows, options.seed, options.answer_tokens)
    losses: list[float] = []
    seconds: list[float] = []

    class InOrder:
        """The rows as they come, and every step's loss and time."""

        def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

        def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
            return feature

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            loss = super().training_step(*args, **kwargs)
            losses.append(loss.item())  # waits for the GPU
            seconds.append(time.perf_counter() - begun)
            return loss

    class Theirs(InOrder, ORPOTrainer):
        pass

    class Ours(InOrder, WatermarkOrpoTrainer):
        pass

    with tempfile.TemporaryDirectory() as folder:
        common: dict[str, Any] = dict(
            model=model,
            args=ORPOConfig(
                output_dir=folder, use_cpu=not cuda, bf16=options.precision == "bfloat16",
                report_to="none", disable_tqdm=True,
                per_device_train_batch_size=1 if way == "trl-1" else pairs,
                gradient_accumulation_steps=pairs if way == "trl-1" else 1,
                num_train_epochs=1, learning_rate=1e-4 if cuda else 1e-3,
                lr_scheduler_type="constant",
                max_length=8192, beta=1.0, disable_dropout=False, seed=options.seed,
                activation_checkpointing=options.recompute, dataloader_pin_memory=cuda,
                remove_unused_columns=False, save_strategy="no", logging_strategy="no",
                use_liger_kernel=options.liger and not way.startswith("trl"),
                liger_kernel_config={"cross_entropy": False, "fused_linear_cross_entropy": False},
            ),
            processing_class=Tokenizer(),
            peft_config=LoraConfig(
                task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"
            ) if options.lora else None,
        )  # fmt: skip
        if way.startswith("trl"):
            data = datasets.Dataset.from_list([as_trl(e) for e in examples])
            trainer: Any = Theirs(train_dataset=data, **common)
        else:
            data = datasets.Dataset.from_list(examples)
            ours = dict(nll_scope=way, twins=True, pack_tokens=options.pack_tokens)
            if options.head_chunk:
                ours["head_chunk"] = options.head_chunk
            trainer = Ours(train_dataset=data, **common, **ours)
        if options.compile and not way.startswith("trl"):
            for layer in model.model.layers:
                layer.compile(dynamic=True)
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
        trainer.train()
        peak = torch.cuda.max_memory_allocated() / MIB if cuda else resident("VmHWM")
        if cuda:
            before = sum(p.numel() * p.element_size() for p in trainer.model.parameters()) / MIB
    parts = len(seconds) // options.steps  # batches a step
    sums = [sum(seconds[i : i + parts]) for i in range(0, len(seconds), parts)]
    usual = statistics.median(sums[1:])
    found = {
        "parameters": model.num_parameters(),
        "seconds a step": usual,
        "pairs a second": pairs / usual,
        "peak MiB": peak,
        "training MiB": peak - before,
        "losses": losses,
    }
    return found | ({} if not cuda else utilisation(options, trainer.model, examples, usual))


def random_model(options: argparse.Namespace) -> Any:
    """The shape that is asked for; frozen under an adapter it is held in `--precision`."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from wm_train import shapes

    sizes: Any
    if options.shape:
        sizes = shapes.configuration(options.shape)
    else:
        sizes = Qwen3Config(
            vocab_size=VOCAB, hidden_size=128, intermediate_size=384, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, head_dim=32,
            tie_word_embeddings=not options.untied, pad_token_id=PAD, eos_token_id=END,
        )  # fmt: skip
    sizes._attn_implementation = options.attention
    torch.manual_seed(options.seed)
    half = options.lora and options.precision == "bfloat16"
    torch.set_default_dtype(torch.bfloat16 if half else torch.float32)
    with torch.device(options.device):
        model = Qwen3ForCausalLM(sizes)
    torch.set_default_dtype(torch.float32)
    return model


def utilisation(
    options: argparse.Namespace, model: Any, examples: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    import torch

    from wm_train import estimate, shapes
    from wm_train.config import TrainConfig
    from wm_train.plan import load_of
    from wm_train.speed import PEAK_TFLOPS

    config = TrainConfig.model_validate(
        {
            "model": {"base": "random", "lora": {} if options.lora else None},
            "data": {"path": "."},
            "optim": {
                "learning_rate": 1e-4,
                "batch_size": PAIRS_A_ROW * options.rows,
                "pack_tokens": options.pack_tokens,
            },
        }
    )
    load, unshared = load_of(config, examples)
    needed = estimate.flops(config, shapes.measured(model), load, recomputed=False)
    peak = PEAK_TFLOPS.get(torch.cuda.get_device_name())
    return {
        "tokens a step": load.tokens,
        "tokens a step without sharing": unshared,
        "TFLOP a step": needed / 1e12,
        "MFU": None if peak is None else needed / (seconds * peak * 1e12),
    }


class Tokenizer:
    """Stands in for a tokenizer: the data is ids already, and only the padding id is asked for."""

    pad_token_id = PAD
    padding_side = "right"
    name_or_path = "none"

    def save_pretrained(self, folder: str) -> None:
        """The trainer would save a tokenizer beside the weights."""


if __name__ == "__main__":
    sys.exit(main())
