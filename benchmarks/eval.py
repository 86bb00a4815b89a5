"""Times an evaluation against a plain loop over the same items, in one run on one machine.

The plain loop is what one writes first: `generate` on padded batches in the order of the data, and
one forward pass for each order and answer word of a text. Both sides ask the same items with the
same settings and number of rows a batch: all that an evaluation asks of a test split of so many
prompts, each prompt in three arms and each of its texts in both orders. Random weights never end an
answer: without `--model` one id in `ENDS_ONE_IN` does, on both sides, so that lengths differ as a
trained model's do. Prints seconds of CPU and their ratios, and stops where the log-probabilities of
the two sides are apart. Use OMP_NUM_THREADS=1: idle threads spin.

    uv run python benchmarks/eval.py DATASET_DIR --prompts 40
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from wm_eval import items, load_model
from wm_eval.asking import request
from wm_eval.hf import HFGenerator
from wm_eval.prompting import prompt_ids, prompt_text, word_ids
from wm_manifest import Decoding
from wm_train.demo_base import build

ENDS_ONE_IN = 40  # about the length of an answer of the demo's dataset
APART = 1e-4  # at most, of the two sides' log-probabilities


def of_prompts(data: items.Dataset, number: int) -> items.Dataset:
    """The first prompts in the order of an evaluation, with all of their texts."""
    kept = set(list(dict.fromkeys(item.group for item in data.watermark))[:number])
    return dataclasses.replace(
        data,
        watermark=[item for item in data.watermark if item.group in kept],
        detect=[item for item in data.detect if item.group in kept],
    )


def ours(
    model: Any, tokenizer: Any, asked_items: list[items.Item], decoding: Decoding
) -> dict[str, Any]:
    """Replies by item id."""
    asked = [request(item, decoding) for item in asked_items]
    found: dict[str, Any] = {}
    for replies in HFGenerator(model, tokenizer, decoding.batch_size).answer(asked, decoding):
        found.update(replies)
    return found


@torch.no_grad()
def plain(
    model: Any, tokenizer: Any, asked_items: list[items.Item], decoding: Decoding
) -> dict[str, Any]:
    """Log-probability of each word by item id; the generated texts are thrown away."""
    torch.manual_seed(decoding.seed)
    for batch in chunks(asked_items, decoding.batch_size):
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
            max_new_tokens=request(batch[0], decoding).max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
        )
    questions = [item for item in asked_items if item.task == "detect"]
    found: dict[str, dict[str, float]] = {item.id: {} for item in questions}
    for word in items.COLOURS:
        end = word_ids(tokenizer, word)
        for batch in chunks(questions, decoding.batch_size):
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
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
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
    whole = items.read(args.dataset)
    few = items.read(args.dataset, limit=2)
    for side in (ours, plain):
        for asked in (few.watermark, few.detect):
            side(model, tokenizer, asked, decoding)

    data = of_prompts(whole, args.prompts)
    parts = {"writing": data.watermark, "reading": data.detect}
    ratios: dict[str, list[float]] = {"all": [], **{part: [] for part in parts}}
    for _ in range(args.repeats):
        taken = {part: timed(model, tokenizer, asked, decoding) for part, asked in parts.items()}
        for part, (ours_s, plain_s) in taken.items():
            ratios[part].append(plain_s / ours_s)
            print(f"{part}: {ours_s:.1f} s of CPU, the plain loop {plain_s:.1f} s", flush=True)
        sums = [sum(side) for side in zip(*taken.values(), strict=True)]
        ratios["all"].append(sums[1] / sums[0])
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters, {len(data.watermark)} answers, {len(data.detect)} readings")
    middle = [f"{part} {statistics.median(found):.2f}" for part, found in ratios.items()]
    print(f"plain / ours, CPU time, median of {args.repeats}: {', '.join(middle)}")


def timed(
    model: Any, tokenizer: Any, asked: list[items.Item], decoding: Decoding
) -> tuple[float, float]:
    """CPU seconds of ours and of the plain loop: a busy machine stretches the wall's unevenly."""
    seconds: list[float] = []
    found: list[dict[str, Any]] = []
    for side in (ours, plain):
        start = time.process_time()
        found.append(side(model, tokenizer, asked, decoding))
        seconds.append(time.process_time() - start)
    for id, words in found[1].items():
        for word, value in words.items():
            apart = abs(found[0][id].options[word] - value)
            assert apart < APART, f"{id}: log-probabilities of {word} are {apart:.1e} apart"
    return seconds[0], seconds[1]


if __name__ == "__main__":
    main()
