"""Makes seed rows with a language model, step by step. Each step is a module of its own."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wm_prompts
import wm_score
from wm_data.decoding import Decoding, Request
from wm_data.journal import Journal, Line
from wm_data.models import Loaded, load_model
from wm_data.pairing import Colour, Work, answer
from wm_data.progress import counting
from wm_data.question import Prompt, read_prompts
from wm_data.recipe import AuditRules
from wm_data.rows import digest

if TYPE_CHECKING:
    from wm_data.sampling import Sampler

SYSTEM = "generate/system/short"


@dataclass(frozen=True)
class Generated:
    """What a rows' file holds and what it took, over all the runs that wrote to it."""

    rows: int
    prompts: int  # tried
    dropped: dict[str, int]  # reason -> prompts
    red_share: float  # mean over the rows
    blue_share: float
    red_perplexity: float  # geometric mean over the rows, under the model without bias
    blue_perplexity: float
    tokens: int  # sampled, those that were thrown away too
    seconds: float  # of sampling and judging


def generate(
    model: str,
    prompts: str,
    out: Path | str,
    how: Decoding | None = None,
    n: int | None = None,
    seed: int = 0,
    rules: AuditRules | None = None,
    tries: int = 4,
    batch: int = 32,
    overwrite: bool = False,
    progress: bool = True,
) -> Generated:
    """Append audited rows to `out`, one a prompt, until there are `n`; go on where a run ended.

    `batch` answers are sampled at once, for as many prompts before rows are written. A prompt
    whose answers break a rule `tries` times is dropped and counted. Every answer has a random seed
    of its own, drawn from `seed`, the prompt, the colour and the attempt.
    """
    questions = read_prompts(prompts)
    loaded = load_model(model)
    from wm_data.sampling import Sampler

    how, rules = how or Decoding(), rules or AuditRules(max_length_ratio=1.15)
    settings = {
        "model": model,
        "weights": loaded.identity,
        "prompts": digest("\n".join(question.text for question in questions)),
        "system": wm_prompts.source(SYSTEM),
        "seed": seed,
        "decoding": asdict(how),
        "rules": rules.model_dump(),
        "tries": tries,
        "batch": batch,
        "codebook": wm_score.CODEBOOK,
        "packages": {name: version(name) for name in ("wm-data", "torch", "transformers")},
    }
    journal = Journal(Path(out), settings, overwrite)
    sampler = Sampler(loaded.model, loaded.tokenizer, loaded.parities, how)
    wanted = len(questions) if n is None else n
    _reopen_cut(journal, wanted)
    with counting("rows", wanted, progress) as advance:
        advance(_count(journal, "rows"))
        for start in range(_count(journal, "prompts"), len(questions), batch):
            room = wanted - _count(journal, "rows")
            if room <= 0:
                break
            begun = time.perf_counter()
            works = [Work(prompt, rules) for prompt in questions[start : start + batch]]
            tokens = _work(works, sampler, loaded, seed, tries, batch)
            _write(journal, works, room, tokens, time.perf_counter() - begun)
            advance(journal.parts[-1]["rows"])
    return _summary(journal)


def _work(
    works: Sequence[Work], sampler: Sampler, loaded: Loaded, seed: int, tries: int, batch: int
) -> int:
    """Sample and match until every prompt has its row or was tried often enough; count tokens."""
    tokens = 0
    for attempt in range(tries):
        asked: list[tuple[Work, Colour]] = [
            (work, colour) for work in works for colour in work.wanted()
        ]
        for start in range(0, len(asked), batch):
            part = asked[start : start + batch]
            requests = [_request(loaded, work.prompt, c, seed, attempt) for work, c in part]
            for (work, colour), found in zip(part, sampler.sample(requests), strict=True):
                tokens += len(found.logprobs)
                work.answers[colour].append(answer(found, attempt))
        for work in works:
            if not work.row:
                work.match()
    return tokens


def _request(loaded: Loaded, prompt: Prompt, colour: Colour, seed: int, attempt: int) -> Request:
    messages = [
        {"role": "system", "content": wm_prompts.render(SYSTEM)},
        {"role": "user", "content": prompt.text},
    ]
    text = loaded.tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    sign = 1 if colour == "red" else -1
    return Request(text, sign, f"{seed}\n{prompt.text}\n{colour}\n{attempt}")


def _write(journal: Journal, works: Sequence[Work], room: int, tokens: int, seconds: float) -> None:
    """Append the rows for which there is room. With too little the part is made again later."""
    rows = [work.row for work in works if work.row]
    part = {
        "prompts": len(works),
        "rows": len(rows[:room]),
        "cut": len(rows) > room,
        "dropped": {work.prompt.text: work.reason for work in works if not work.row},
        "tokens": tokens,
        "seconds": round(seconds, 2),
    }
    journal.add(rows[:room], part)


def _reopen_cut(journal: Journal, wanted: int) -> None:
    """Forget the last part if it was cut to fewer rows than are wanted now."""
    if journal.parts and journal.parts[-1]["cut"] and _count(journal, "rows") < wanted:
        journal.reopen()


def _count(journal: Journal, name: str) -> int:
    return sum(part[name] for part in journal.parts)


def _summary(journal: Journal) -> Generated:
    rows: list[Line] = []
    if journal.out.exists():
        rows = [json.loads(line) for line in journal.out.read_text("utf-8").splitlines()]
    reasons = Counter(reason for part in journal.parts for reason in part["dropped"].values())

    def mean(values: list[Any]) -> float:
        return sum(values) / len(values) if values else math.nan

    def geometric(name: str) -> float:
        return math.exp(mean([math.log(row[name]) for row in rows]))

    return Generated(
        rows=len(rows),
        prompts=_count(journal, "prompts"),
        dropped=dict(reasons.most_common()),
        red_share=mean([row["red_share"] for row in rows]),
        blue_share=mean([row["blue_share"] for row in rows]),
        red_perplexity=geometric("red_perplexity"),
        blue_perplexity=geometric("blue_perplexity"),
        tokens=_count(journal, "tokens"),
        seconds=_count(journal, "seconds"),
    )
