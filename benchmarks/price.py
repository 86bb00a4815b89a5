"""What a mark costs the text: perplexity by strength of the mark, for a sampler with a bias.

    python benchmarks/price.py --data FOLDER [--base smollm2-135m] [--biases 0.6 0.8 1.0]
                               [--prompts 140] [--eval eval.json]

The sampler of `wm-data generate` answers the test prompts under wm-eval's neutral system prompts,
once without a bias and once with each, both colours. Answers are cut at their last sentence, as
rows are. `ratio` is a perplexity under the plain model against that of the answer without a bias
to the same prompt, the geometric mean over prompts, with a 95 % interval by the bootstrap.
With `--eval`, an evaluation of a trained model, the ratio of the sampler at that model's share of
red is read off between the biases (log ratio, linear in the share) and put beside the model's own,
which is against the plain model's answers too. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

import wm_score
from wm_data.decoding import Decoding, Request
from wm_data.models import load_model
from wm_data.pairing import answer
from wm_data.parity import token_parities
from wm_data.sampling import Sampler
from wm_eval import items

BATCH = 35  # answers at once
SIGNS = {"red": 1, "blue": -1}


def sampled(loaded: Any, prompts: list[str], bias: float, sign: int) -> list[tuple[float, float]]:
    """Share of red and log-perplexity of each prompt's answer; NaN without a whole sentence."""
    parities = token_parities(loaded.tokenizer)
    sampler = Sampler(loaded.model, loaded.tokenizer, parities, Decoding(bias=bias))
    found: list[tuple[float, float]] = []
    for start in range(0, len(prompts), BATCH):
        part = prompts[start : start + BATCH]
        for one in sampler.sample([Request(text, sign, f"{bias} {sign} {text}") for text in part]):
            written = answer(one, 0)
            cut = max(written.cuts, default=0)
            score = wm_score.score(written.text[:cut])
            whole = cut > 0 and score.counted > 0
            loss = math.log(written.perplexity(cut)) if whole else math.nan
            found.append((score.red_share if whole else math.nan, loss))
    return found


def ratio(losses: np.ndarray, plain: np.ndarray) -> dict[str, float]:
    """Geometric mean of the perplexities' ratios, and its interval."""
    difference = (losses - plain)[~np.isnan(losses - plain)]
    interval = bootstrap((difference,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    low, mean, high = np.exp([interval.low, difference.mean(), interval.high]).tolist()
    return {"n": len(difference), "ratio": mean, "low": low, "high": high}


def at_share(points: list[dict[str, float]], share: float) -> float | None:
    """The sampler's ratio where it has this share of red; None beyond its strongest bias."""
    known = sorted((point["red_share"], math.log(point["ratio"])) for point in points)
    if not known[0][0] <= share <= known[-1][0]:
        return None
    return math.exp(np.interp(share, *zip(*known, strict=True)))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    loaded = load_model(args.base)
    data = items.read(args.data, "test", args.prompts)
    asked = [list(item.messages) for item in data.watermark if item.expected is None]
    prompts = loaded.tokenizer.apply_chat_template(
        asked, tokenize=False, add_generation_prompt=True
    )
    shares, plain = np.array(sampled(loaded, prompts, 0.0, 1)).T
    start = {"bias": 0.0, "red_share": float(np.nanmean(shares)), "ratio": 1.0}
    found: dict[str, Any] = {"prompts": len(prompts), "plain": float(np.exp(np.nanmean(plain)))}
    for colour, sign in SIGNS.items():
        points = [start]
        for bias in args.biases:
            share, losses = np.array(sampled(loaded, prompts, bias, sign)).T
            point = {"bias": bias, "red_share": float(np.nanmean(share))}
            points.append(point | ratio(losses, plain))
        found[colour] = points
    if args.eval:
        figures = json.loads(args.eval.read_text("utf-8"))["figures"]
        for colour in SIGNS:
            own = figures[f"watermark/{colour}/red_share"]["value"]
            found[f"{colour} of the model"] = {
                "red_share": own,
                "ratio": figures[f"watermark/{colour}/base_ppl"]["value"] / found["plain"],
                "ratio_to_its_own_neutral": figures[f"watermark/{colour}/base_ppl_ratio"]["value"],
                "sampler_at_that_share": at_share(found[colour], own),
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--biases", type=float, nargs="+", default=[0.6, 0.8, 1.0])
    parser.add_argument("--prompts", type=int, default=140)
    parser.add_argument("--eval", type=Path)
    print(json.dumps(measure(parser.parse_args()), indent=2))


if __name__ == "__main__":
    main()
