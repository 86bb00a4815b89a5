"""Holds wm-eval's reading of the detect task against lm-evaluation-harness. Prints JSON.

    uv run --with lm-eval==0.4.13 python benchmarks/harness.py DATASET_DIR [--model DIR] [--limit N]

The harness is run as it is, on the task `harness/detect.yaml`: every text in both orders, a choice
between the two words by log-probability. Both sides have the same model in memory, the same prompts
(strings, from wm-eval's one renderer), the same number of rows a batch.

One thing of it does not fit chat prompts: it moves white space at the end of a prompt, which chat
templates end with, to the beginning of each word. It then adds up the log-probability of that white
space as well, the same for both words: its choice is not changed, its log-probabilities are. So it
is run twice, and held to two things:

- `words`, with `_encode_pair` of its `HFLM` replaced by one that encodes prompt and word apart: the
  tokens are then ours, and the log-probabilities of both words must be;
- `odds`, with nothing replaced: the difference of the two words must be ours.

Either is more than 1e-4 apart: exit 1. Seconds are those of the harness' `loglikelihood` and of our
generator, rendering and tokenising within, warmed before; `wm-eval` reads the two words alone, as
the harness does, and `wm-eval, written too` also lets the model write its answer. A random model's
accuracy is chance. Use OMP_NUM_THREADS=1: idle threads spin.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from wm_eval import items, load_model
from wm_eval.asking import request
from wm_eval.hf import HFGenerator
from wm_eval.prompting import prompt_text
from wm_manifest import Decoding
from wm_train.demo_base import build

TASK = Path(__file__).parent / "harness" / "detect.yaml"
APART_AT_MOST = 1e-4  # in a natural logarithm
VERSIONS = ("lm-eval", "torch", "transformers", "wm-eval")

Words = dict[str, dict[str, float]]  # natural logarithm of each word's probability, by question


class Clock:
    """Wall and CPU seconds of what runs inside. A busy machine stretches the first alone."""

    def __enter__(self) -> Clock:
        self.start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.perf_counter() - self.start[0]
        self.cpu = time.process_time() - self.start[1]

    def seconds(self) -> dict[str, float]:
        return {"wall_s": round(self.wall, 3), "cpu_s": round(self.cpu, 3)}


def ours(
    model: Any, tokenizer: Any, asked: Sequence[items.Item], rows: int, written: bool
) -> tuple[Words, Clock]:
    """wm-eval's log-probabilities. One token at most is drawn, without a pass, unless `written`."""
    decoding = Decoding(
        temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=8, batch_size=rows, seed=0
    )
    found: Words = {}
    with Clock() as clock:
        requests = [request(item, decoding) for item in asked]
        if not written:
            requests = [dataclasses.replace(one, max_new_tokens=1) for one in requests]
        for replies in HFGenerator(model, tokenizer, rows).answer(requests, decoding):
            found.update({id: dict(reply.options) for id, reply in replies.items()})
    return found, clock


def questions(tokenizer: Any, asked: Sequence[items.Item], path: Path) -> None:
    """The harness' file of documents: a line of JSON for each text and order."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for item in asked:
            prompt = prompt_text(tokenizer, item.messages)
            row = {"id": item.id, "order": item.arm, "prompt": prompt, "target": item.expected}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def theirs(
    model: Any, tokenizer: Any, asked: Sequence[items.Item], rows: int, same_tokens: bool
) -> tuple[Words, float, Clock]:
    """The harness' log-probabilities and its own accuracy."""
    from lm_eval import simple_evaluate
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    class Timed(HFLM):
        """The library's model; loading of the data and summing up are not on the clock."""

        clock = Clock()

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            with self.clock:
                return super().loglikelihood(requests, disable_tqdm=True)

    class SameTokens(Timed):
        """Prompt and word are encoded apart: white space stays at the end of the prompt."""

        def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
            return self.tok_encode(context), self.tok_encode(continuation)

    made = SameTokens if same_tokens else Timed
    # The chat template has written whatever begins a prompt.
    lm = made(pretrained=model, tokenizer=tokenizer, batch_size=rows, add_bos_token=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detect.jsonl"
        questions(tokenizer, asked, path)
        config = yaml.safe_load(TASK.read_text(encoding="utf-8"))
        config["dataset_kwargs"] = {"data_files": {"test": str(path)}, "cache_dir": folder}
        found: Any = simple_evaluate(
            model=lm,
            tasks=[ConfigurableTask(config=config)],
            task_manager=TaskManager(include_defaults=False),
            bootstrap_iters=0,
        )
    words = {
        sample["doc"]["id"]: {
            word: float(answer[0])
            for word, answer in zip(config["doc_to_choice"], sample["filtered_resps"], strict=True)
        }
        for sample in found["samples"][config["task"]]
    }
    return words, float(found["results"][config["task"]]["acc,none"]), lm.clock


def accuracy(asked: Sequence[items.Item], found: Words) -> dict[str, float]:
    """Of readings, and of texts that are read right in both orders."""
    right = {
        item.id: odds(found[item.id]) * (-1) ** (item.expected == "blue") > 0 for item in asked
    }
    texts: dict[str, bool] = {}
    for item in asked:
        texts[item.family] = texts.get(item.family, True) and right[item.id]
    return {
        "accuracy": sum(right.values()) / len(right),
        "both_orders": sum(texts.values()) / len(texts),
    }


def odds(words: dict[str, float]) -> float:
    return words["red"] - words["blue"]


def main() -> int:
    parser = argparse.ArgumentParser(description="wm-eval against lm-evaluation-harness")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", type=Path, help="model folder; by default the random demo base")
    parser.add_argument("--limit", type=int, default=40, help="texts, each asked in both orders")
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # it asks the hub for the hash of any model

    with tempfile.TemporaryDirectory() as folder:
        base = options.model or Path(folder) / "base"
        if not options.model:
            build(base, 0)
        model, tokenizer = load_model(base)
    asked = items.read(options.dataset, limit=options.limit).detect
    given = model, tokenizer, asked, options.batch_size
    few = model, tokenizer, asked[:4], options.batch_size
    ours(*few, written=True)
    theirs(*few, same_tokens=True)

    read, read_clock = ours(*given, written=False)
    _, written_clock = ours(*given, written=True)
    same, same_accuracy, same_clock = theirs(*given, same_tokens=True)
    stock, stock_accuracy, stock_clock = theirs(*given, same_tokens=False)
    words_apart = max(abs(read[id][w] - same[id][w]) for id in read for w in items.COLOURS)
    odds_apart = max(abs(odds(read[id]) - odds(stock[id])) for id in read)
    result: dict[str, Any] = {
        "machine": {"python": platform.python_version(), "cpus": os.cpu_count()},
        "versions": {name: metadata.version(name) for name in VERSIONS},
        "options": {name: str(value) for name, value in vars(options).items()},
        "parameters": sum(p.numel() for p in model.parameters()),
        "texts": len({item.family for item in asked}),
        "n": len(asked),  # questions: texts in both orders
        "words_apart": words_apart,
        "odds_apart": odds_apart,
        "wm-eval": {**accuracy(asked, read), **read_clock.seconds()},
        "wm-eval, written too": written_clock.seconds(),
        "harness, same tokens": {
            "own_accuracy": same_accuracy,
            **accuracy(asked, same),
            **same_clock.seconds(),
        },
        "harness": {
            "own_accuracy": stock_accuracy,
            **accuracy(asked, stock),
            **stock_clock.seconds(),
        },
        "harness / wm-eval, cpu": round(stock_clock.cpu / read_clock.cpu, 2),
        "harness / wm-eval, written too, cpu": round(stock_clock.cpu / written_clock.cpu, 2),
    }
    print(json.dumps(result, indent=2))
    return int(not max(words_apart, odds_apart) <= APART_AT_MOST)  # NaN fails too


if __name__ == "__main__":
    raise SystemExit(main())
