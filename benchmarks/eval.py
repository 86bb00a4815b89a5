"""Times an evaluation against a plain loop over the same items, in one run on one machine.

The plain loop is what one writes first: `generate` on padded batches in the order of the data, and
one forward pass for each order and answer word of a text. Both sides ask the same items with the
same settings and number of rows a batch. Random weights never end an answer: without `--model` one
id in `ENDS_ONE_IN` does, on both sides, so that lengths differ as a trained model's do. Prints
seconds, the ratio of CPU time, and how far the log-probabilities of the two sides are apart. Use
OMP_NUM_THREADS=1: idle threads spin.

    uv run python benchmarks/eval.py DATASET_DIR --limit 40
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from wm_eval import items, load_model
from wm_eval.asking import WORD_TOKENS, request
from wm_eval.hf import HFGenerator
from wm_eval.prompting import prompt_ids, prompt_text, word_ids
from wm_manifest import Decoding
from wm_train.demo_base import build

ENDS_ONE_IN = 40  # about the length of an answer of the demo's dataset


def ours(model: Any, tokenizer: Any, data: items.Dataset, decoding: Decoding) -> dict[str, Any]:
    """Replies by item id."""
    asked = [request(item, decoding) for item in [*data.watermark, *data.detect]]
    found: dict[str, Any] = {}
    for replies in HFGenerator(model, tokenizer, decoding.batch_size).answer(asked, decoding):
        found.update(replies)
    return found


@torch.no_grad()
def plain(model: Any, tokenizer: Any, data: items.Dataset, decoding: Decoding) -> dict[str, Any]:
    """Log-probability of each word by item id; the generated texts are thrown away."""
    torch.manual_seed(decoding.seed)
    for asked, longest in ((data.watermark, decoding.max_new_tokens), (data.detect, WORD_TOKENS)):
        for batch in chunks(asked, decoding.batch_size):
            texts = [prompt_text(tokenizer, item.messages) for item in batch]
            inputs = tokenizer(
                texts,
                return_tensors="pt",
                padding=True,
                padding_side="left",
                add_special_tokens=False,
            ).to(model.device)
            model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                do_sample=True,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                top_k=decoding.top_k,
                max_new_tokens=longest,
                pad_token_id=tokenizer.pad_token_id,
            )
    found: dict[str, dict[str, float]] = {item.id: {} for item in data.detect}
    for word in items.COLOURS:
        end = word_ids(tokenizer, word)
        for batch in chunks(data.detect, decoding.batch_size):
            rows = [prompt_ids(tokenizer, item.messages) + end for item in batch]
            width = max(map(len, rows))
            ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
            position = (mask.cumsum(-1) - 1).clamp(min=0)
            logits = model(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                position_ids=position.to(model.device),
            ).logits
            p = logits[:, -len(end) - 1 : -1].float().log_softmax(-1)
            for row, item in zip(p, batch, strict=True):
                found[item.id][word] = sum(row[k, id].item() for k, id in enumerate(end))
    return found


def chunks(asked: list[items.Item], size: int) -> list[list[items.Item]]:
    """In the order of the data."""
    return [asked[start : start + size] for start in range(0, len(asked), size)]


def large(tokenizer: Any) -> Any:
    """A random Qwen3 of about 100 million parameters behind the same tokenizer."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=768,
        intermediate_size=2304,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        head_dim=64,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config).eval()


def main() -> None:
    """Warm both sides on a few items, then time them one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", type=Path, help="model folder; by default the random demo base")
    parser.add_argument("--large", action="store_true", help="a random Qwen3 of 100 M instead")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, default=96)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        base = args.model or Path(folder) / "base"
        if not args.model:
            build(base, 0)
        model, tokenizer = load_model(base)
        if args.large:
            model = large(tokenizer)
    decoding = Decoding(
        temperature=0.7,
        top_p=0.8,
        top_k=20,
        max_new_tokens=args.max_new_tokens,
        batch_size=args.batch_size,
        seed=0,
    )
    if not args.model:
        end = [tokenizer.eos_token_id, *range(0, len(tokenizer), ENDS_ONE_IN)]
        model.generation_config.eos_token_id = end
    few = items.read(args.dataset, limit=2)
    for side in (ours, plain):
        side(model, tokenizer, few, decoding)

    data = items.read(args.dataset, limit=args.limit)
    seconds: dict[str, float] = {}
    results: dict[str, dict[str, Any]] = {}
    for side in (ours, plain):
        start = time.perf_counter(), time.process_time()
        results[side.__name__] = side(model, tokenizer, data, decoding)
        wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
        seconds[side.__name__] = cpu  # a busy machine stretches the wall's time unevenly
        print(f"{side.__name__:6s} {wall:7.1f} s wall, {cpu:7.1f} s of CPU")
    apart = max(
        abs(results["ours"][id].options[word] - value)
        for id, words in results["plain"].items()
        for word, value in words.items()
    )
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters, {len(data.watermark)} answers, {len(data.detect)} readings")
    print(f"plain / ours: {seconds['plain'] / seconds['ours']:.2f} of CPU time")
    print(f"log-probabilities at most {apart:.1e} apart")


if __name__ == "__main__":
    main()
