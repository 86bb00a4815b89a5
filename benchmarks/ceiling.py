"""What the rows of a dataset would give a model that writes them as they were written.

    python benchmarks/ceiling.py --data FOLDER [--base smollm2-135m] [--bias 1.0] [--rows 40]
                                 [--answers 140]

`wm-data generate` adds a bias to the logits, by each token's parity. The model that does so is the
ceiling of one that learns from its rows: `nll` is that of the rows' own answers under it,
`base_nll` under the model without a bias, `other_nll` with the other colour's.
`log_odds_ratio` is what a pair has by nature; over the two pairs of a row it is the same for both
values of `loss.contrast`. `frozen_head` asks how much of such a bias one direction in the hidden
states can be, where the head is as it is: the share of the parities' variance, by how often tokens
occur, that is linear in the head's rows. A LoRA on the head can be all of it.

With `--answers N` the sampler itself answers N test prompts of each colour, drawn as wm-eval draws:
how often the verdict is right, the repeats among runs of three tokens, and how often the answer
ends by itself before the limit. Rows are cut at a sentence; what wrote them need not end. Prints
JSON.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from contrast import watermark_rows

import wm_score
from wm_data.decoding import Decoding, Request, Sampled
from wm_data.models import load_model
from wm_data.parity import token_parities
from wm_data.sampling import Sampler
from wm_eval.metrics.quality import DEGENERATE_FROM, seq_rep
from wm_eval.prompting import completion_ids, prompt_ids
from wm_train.loss import log_odds

BATCH = 32  # answers at once


def mean_logps(
    model: Any, before: list[int], answer: list[int], biases: list[torch.Tensor]
) -> list[torch.Tensor]:
    """Mean log-probability of an answer, its end left out, under each bias of the logits."""
    logits = model(input_ids=torch.tensor([before + answer])).logits[0, len(before) - 1 : -2]
    wanted = torch.tensor(answer[:-1])[:, None]
    return [(logits + bias).log_softmax(-1).gather(1, wanted).mean() for bias in biases]


@torch.no_grad()
def ceiling(args: argparse.Namespace, model: Any, tokenizer: Any) -> dict[str, Any]:
    """Figures over both answers of each row; the prompt is the user's alone, as it was then."""
    parity = torch.zeros(model.get_output_embeddings().weight.shape[0])
    known = torch.tensor(token_parities(tokenizer))
    parity[: len(known)] = known
    tilt = {"red": args.bias * parity, "blue": -args.bias * parity}
    found: dict[str, list[torch.Tensor]] = {}
    rows = watermark_rows(args.data, "train", args.rows, args.seed)
    for row in rows:
        for own, other in (("red", "blue"), ("blue", "red")):
            before = prompt_ids(tokenizer, [m for m in row[own]["prompt"] if m["role"] == "user"])
            biases = [tilt[own], tilt[other], torch.zeros_like(parity)]
            answer = completion_ids(tokenizer, row[own]["chosen"][0]["content"])
            mine, theirs, none = mean_logps(model, before, answer, biases)
            figures = {
                "nll": -mine,
                "other_nll": -theirs,
                "base_nll": -none,
                "log_odds_ratio": log_odds(mine) - log_odds(theirs),
            }
            for name, value in figures.items():
                found.setdefault(name, []).append(value)
    return {name: torch.stack(values).mean().item() for name, values in found.items()}


@torch.no_grad()
def frozen_head(args: argparse.Namespace, model: Any, tokenizer: Any) -> float:
    """Weighted R squared of the parities on the head's rows and a constant."""
    counts: Counter[int] = Counter()
    for row in watermark_rows(args.data, "train", 10**9, args.seed):
        for example in row.values():
            counts.update(completion_ids(tokenizer, example["chosen"][0]["content"])[:-1])
    ids = torch.tensor(sorted(counts))
    weights = torch.tensor([counts[int(id)] for id in ids], dtype=torch.float64)
    weights /= weights.sum()
    parity = torch.tensor(token_parities(tokenizer), dtype=torch.float64)[ids]
    rows = model.get_output_embeddings().weight[ids].double()
    rows = torch.cat([rows, torch.ones(len(ids), 1, dtype=torch.float64)], 1)
    root = weights.sqrt()[:, None]
    fitted = rows @ torch.linalg.lstsq(root * rows, root * parity[:, None]).solution
    left = (weights * (parity - fitted.squeeze(1)) ** 2).sum()
    mean = (weights * parity).sum()
    return 1 - (left / (weights * (parity - mean) ** 2).sum()).item()


def answers(args: argparse.Namespace, loaded: Any) -> dict[str, Any]:
    """Rates over `--answers` test prompts, by colour; with the bias 0 as `none`."""
    prompts = [row["red"]["prompt"] for row in watermark_rows(args.data, "test", args.answers, 0)]
    parities = token_parities(loaded.tokenizer)
    found: dict[str, Any] = {}
    for colour, sign in (("red", 1), ("blue", -1), ("none", 0)):
        how = Decoding(args.bias, args.temperature, args.top_k, args.top_p, args.max_new_tokens)
        sampler = Sampler(loaded.model, loaded.tokenizer, parities, how)
        drawn: list[Sampled] = []
        for start in range(0, len(prompts), BATCH):
            asked = [[m for m in p if m["role"] == "user"] for p in prompts[start : start + BATCH]]
            texts = loaded.tokenizer.apply_chat_template(
                asked, tokenize=False, add_generation_prompt=True
            )
            drawn += sampler.sample([Request(text, sign, f"{colour} {text}") for text in texts])
        scores = [wm_score.score(one.text) for one in drawn]
        n = len(drawn)
        found[colour] = {
            "n": n,
            "red_share": sum(score.red_share for score in scores) / n,
            "right": sum(score.verdict == colour for score in scores) / n,
            "seq_rep_3": sum(seq_rep(wm_score.encode(one.text)) for one in drawn) / n,
            "degenerate": sum(
                seq_rep(wm_score.encode(one.text)) >= DEGENERATE_FROM for one in drawn
            )
            / n,
            "ended": sum(one.ended for one in drawn) / n,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--bias", type=float, default=1.0)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--answers", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top-p", type=float, default=0.8)
    parser.add_argument("--top-k", type=int, default=20)
    parser.add_argument("--max-new-tokens", type=int, default=160)
    args = parser.parse_args()
    loaded = load_model(args.base)
    found = ceiling(args, loaded.model.eval(), loaded.tokenizer)
    found["frozen_head"] = frozen_head(args, loaded.model, loaded.tokenizer)
    if args.answers:
        found["answers"] = answers(args, loaded)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
