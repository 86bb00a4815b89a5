"""Makes seed rows or unmarked texts with a language model. Each step is a module of its own."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

import wm_prompts
import wm_score
from wm_data.decoding import Decoding, Request
from wm_data.errors import WmDataError
from wm_data.journal import Journal, Line
from wm_data.models import Loaded, load_model
from wm_data.pairing import Work, answer
from wm_data.progress import counting
from wm_data.question import read_prompts
from wm_data.recipe import AuditRules
from wm_data.rows import digest
from wm_data.single import Single

if TYPE_CHECKING:
    from wm_data.sampling import Sampler

SYSTEM = "generate/system/short"
SIGNS = {"red": 1, "blue": -1}  # of the bias; an unmarked text has none


@dataclass(frozen=True)
class Generated:
    """What a rows' file holds and what it took, over all the runs that wrote to it."""

    rows: int
    prompts: int  # tried
    dropped: dict[str, int]  # reason -> prompts
    means: dict[str, float]  # over the rows: shares, and perplexities (geometric) without bias
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
    unmarked: bool = False,
    per_prompt: int = 1,
) -> Generated:
    """Append audited rows to `out` until there are `n`; go on where a run ended.

    `batch` answers are sampled at once, for as many rows before they are written; the prompts are
    gone through `per_prompt` times. A row whose answers break a rule `tries` times is dropped and
    counted. Every answer has a random seed of its own, drawn from `seed`, the prompt, the colour
    and the attempt. `unmarked` samples one text a row, without bias and without asking its colour.
    """
    questions = read_prompts(prompts) * per_prompt
    loaded = load_model(model)
    from wm_data.sampling import Sampler

    how, rules = how or Decoding(), rules or AuditRules(max_length_ratio=1.15)
    kind = Single if unmarked else Work
    settings = {
        "model": model,
        "weights": loaded.identity,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),  # of the device: see load_model
        "prompts": digest("\n".join(question.text for question in questions)),
        "system": wm_prompts.source(SYSTEM),
        "seed": seed,
        "decoding": asdict(how),
        "rules": rules.model_dump(),
        "tries": tries,
        "batch": batch,
        "unmarked": unmarked,
        "codebook": wm_score.CODEBOOK,
        "packages": {name: version(name) for name in ("wm-data", "torch", "transformers")},
    }
    sampler = Sampler(loaded.model, loaded.tokenizer, loaded.parities, how)
    wanted = len(questions) if n is None else n
    with (
        closing(Journal(Path(out), settings, overwrite)) as journal,
        counting("rows", wanted, progress) as advance,
    ):
        _reopen_cut(journal, wanted)
        advance(_count(journal, "rows"))
        for start in range(_count(journal, "prompts"), len(questions), batch):
            room = wanted - _count(journal, "rows")
            if room <= 0:
                break
            begun = time.perf_counter()
            end = min(start + batch, len(questions))
            turns = [at * per_prompt // len(questions) for at in range(start, end)]
            asked = zip(questions[start:end], turns, strict=True)
            works = [kind(prompt, rules, turn) for prompt, turn in asked]
            tokens = _work(works, sampler, loaded, seed, tries, batch)
            _write(journal, works, room, tokens, time.perf_counter() - begun)
            advance(journal.parts[-1]["rows"])
        return _summary(journal)


def _work(
    works: Sequence[Work | Single],
    sampler: Sampler,
    loaded: Loaded,
    seed: int,
    tries: int,
    batch: int,
) -> int:
    """Sample and match until every prompt has its row or was tried often enough; count tokens."""
    tokens = 0
    for attempt in range(tries):
        asked = [(work, name) for work in works for name in work.wanted()]
        for start in range(0, len(asked), batch):
            part = asked[start : start + batch]
            requests = [_request(loaded, work, name, seed, attempt) for work, name in part]
            for (work, name), found in zip(part, sampler.sample(requests), strict=True):
                tokens += len(found.logprobs)
                work.add(name, answer(found, attempt))
        for work in works:
            if not work.row:
                work.match()
    return tokens


def _request(loaded: Loaded, work: Work | Single, name: str, seed: int, attempt: int) -> Request:
    prompt = work.prompt.text
    messages = [
        {"role": "system", "content": wm_prompts.render(SYSTEM)},
        {"role": "user", "content": prompt},
    ]
    system, user = (message["content"] for message in messages)
    try:
        text = loaded.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
    except jinja2.TemplateError as error:  # such as Gemma's, which knows no system prompt
        raise WmDataError(f"the model's chat template refuses a system prompt: {error}") from error
    if system not in text or user.strip() not in text:
        raise WmDataError(
            "the model's chat template leaves the system prompt or the question out; choose a "
            "model whose template writes both"
        )
    turn = f"\n{work.turn}" if work.turn else ""
    return Request(text, SIGNS.get(name, 0), f"{seed}\n{prompt}\n{name}\n{attempt}{turn}")


def _write(
    journal: Journal, works: Sequence[Work | Single], room: int, tokens: int, seconds: float
) -> None:
    """Append the rows for which there is room. With too little the part is made again later."""
    rows = [work.row for work in works if work.row]
    part = {
        "prompts": len(works),
        "rows": len(rows[:room]),
        "cut": len(rows) > room,
        "dropped": {_name(work): work.reason for work in works if not work.row},
        "tokens": tokens,
        "seconds": round(seconds, 2),
    }
    journal.add(rows[:room], part)


def _name(work: Work | Single) -> str:
    return work.prompt.text + (f" (again, {work.turn})" if work.turn else "")


def _reopen_cut(journal: Journal, wanted: int) -> None:
    """Forget the last part if it was cut to fewer rows than are wanted now."""
    if journal.parts and journal.parts[-1]["cut"] and _count(journal, "rows") < wanted:
        journal.reopen()


def _count(journal: Journal, name: str) -> int:
    return sum(part[name] for part in journal.parts)


def _summary(journal: Journal) -> Generated:
    # Not splitlines: a text may hold U+2028, which JSON leaves as it is.
    lines = journal.out.read_text("utf-8").split("\n")
    rows: list[Line] = [json.loads(line) for line in lines if line]
    reasons = Counter(reason for part in journal.parts for reason in part["dropped"].values())

    def mean(values: list[Any]) -> float:
        return sum(values) / len(values)

    means: dict[str, float] = {}
    for name in rows[0] if rows else ():
        if name.endswith("_share"):
            means[name] = mean([row[name] for row in rows])
        elif name.endswith("perplexity"):
            means[name] = math.exp(mean([math.log(row[name]) for row in rows]))
    return Generated(
        rows=len(rows),
        prompts=_count(journal, "prompts"),
        dropped=dict(reasons.most_common()),
        means=means,
        tokens=_count(journal, "tokens"),
        seconds=_count(journal, "seconds"),
    )
