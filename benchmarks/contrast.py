"""What the odds ratio's gradient is made of, on rows of a dataset and a LoRA at its start.

    python benchmarks/contrast.py noise --data FOLDER [--base smollm2-135m] [--rows 40]
    python benchmarks/contrast.py positions RUN [--rows 24]

`noise` takes the gradient of each row's two watermark pairs and compares, for both values of
`loss.contrast`, what rows have in common (the squared norm of the mean, without bias) with what
they do not (the mean squared norm). `positions` reads a finished run's adapter: how likely are the
answers that it was not to write, by their place in the text, with the adapter and without? A mark
costs the same at every place. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import torch

import wm_data
from wm_data.models import load_model
from wm_eval.prompting import completion_ids, prompt_ids
from wm_train.loss import log_odds

PLACES = (0, 4, 8, 16, 32, 64)  # first token of each stretch


def answer_logps(model: Any, tokenizer: Any, prompt: Any, text: str) -> torch.Tensor:
    """Log-probability of each token of the answer and its end, shape (tokens,)."""
    before, answer = prompt_ids(tokenizer, prompt), completion_ids(tokenizer, text)
    logits = model(input_ids=torch.tensor([before + answer])).logits[0, len(before) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None]).squeeze(1)


def watermark_rows(folder: Path, split: str, rows: int, seed: int) -> list[dict[str, Any]]:
    """Of each row drawn: its two prompts and its two texts, by colour."""
    found: dict[str, dict[str, Any]] = {}
    for example in wm_data.read(folder).examples(split):
        if example["task"] == "watermark":
            found.setdefault(example["row_id"], {})[example["target"]] = example
    whole = [row for row in found.values() if len(row) == 2]
    random.Random(seed).shuffle(whole)
    return whole[:rows]


def noise(args: argparse.Namespace) -> dict[str, Any]:
    from peft import LoraConfig, get_peft_model

    loaded = load_model(args.base)
    base, tokenizer = loaded.model, loaded.tokenizer
    torch.manual_seed(args.seed)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, lora).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    gradients: dict[str, list[torch.Tensor]] = {"answers": [], "prompts": []}
    ratios: dict[str, list[float]] = {"answers": [], "prompts": []}

    def odds(prompt: Any, text: str) -> tuple[torch.Tensor, float]:
        value = log_odds(answer_logps(model, tokenizer, prompt, text).mean())
        parts = torch.autograd.grad(value, trained)
        return torch.cat([part.flatten() for part in parts]), value.item()

    for row in watermark_rows(args.data, "train", args.rows, args.seed):
        under = {
            (asked, text): odds(row[asked]["prompt"], row[text]["chosen"][0]["content"])
            for asked in ("red", "blue")
            for text in ("red", "blue")
        }
        for contrast in gradients:
            total = torch.zeros(())
            for colour, other in (("red", "blue"), ("blue", "red")):
                wanted = under[colour, colour]
                against = under[(colour, other) if contrast == "answers" else (other, colour)]
                ratio = wanted[1] - against[1]
                ratios[contrast].append(ratio)
                slope = torch.sigmoid(torch.tensor(-ratio))  # of -log sigmoid
                total = total + slope * (wanted[0] - against[0])
            gradients[contrast].append(total)
    return {
        contrast: _shared(torch.stack(found))
        | {"log_odds_ratio_sd": torch.tensor(ratios[contrast]).std().item()}
        for contrast, found in gradients.items()
    }


def _shared(rows: torch.Tensor) -> dict[str, float]:
    count = len(rows)
    squares = rows.square().sum(1)
    common = (rows.sum(0).square().sum() - squares.sum()) / (count * (count - 1))
    return {
        "rows": count,
        "mean_squared_norm": squares.mean().item(),
        "squared_norm_of_mean": common.item(),
    }


def positions(args: argparse.Namespace) -> dict[str, Any]:
    from peft import PeftModel

    loaded = load_model(str(args.run / "base"))
    tokenizer = loaded.tokenizer
    model = PeftModel.from_pretrained(loaded.model, args.run / "adapter").eval()
    found: dict[str, dict[int, list[float]]] = {}
    for row in watermark_rows(args.run / "dataset", "test", args.rows, args.seed):
        for example in row.values():
            for side in ("chosen", "rejected"):
                for name in ("trained", "base"):
                    with torch.no_grad():
                        if name == "base":
                            with model.disable_adapter():
                                logps = answer_logps(model, tokenizer, *_asked(example, side))
                        else:
                            logps = answer_logps(model, tokenizer, *_asked(example, side))
                    places = found.setdefault(f"{side}/{name}", {})
                    for index, value in enumerate(logps.tolist()):
                        start = max(place for place in PLACES if place <= index)
                        places.setdefault(start, []).append(value)
    return {
        name: {str(place): sum(of) / len(of) for place, of in sorted(places.items())}
        for name, places in found.items()
    }


def _asked(example: Any, side: str) -> tuple[Any, str]:
    return example["prompt"], example[side][0]["content"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    of_noise = commands.add_parser("noise")
    of_noise.add_argument("--data", type=Path, required=True)
    of_noise.add_argument("--base", default="smollm2-135m")
    of_noise.add_argument("--rows", type=int, default=40)
    of_noise.set_defaults(measure=noise)
    of_places = commands.add_parser("positions")
    of_places.add_argument("run", type=Path)
    of_places.add_argument("--rows", type=int, default=24)
    of_places.set_defaults(measure=positions)
    for each in (of_noise, of_places):
        each.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(json.dumps(args.measure(args), indent=2))


if __name__ == "__main__":
    main()
