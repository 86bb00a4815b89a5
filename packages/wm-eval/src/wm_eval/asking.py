"""Puts questions to a generator, judges what comes back, and keeps it. Computes no figure."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from wm_eval.answers import Answer, select
from wm_eval.generator import Continuation, Generator, Likelihood, Request
from wm_eval.judge import judge
from wm_eval.partial import Partial
from wm_eval.progress import progress_bar
from wm_eval.question import ARMS, COLOURS, Item, seed_of
from wm_manifest import Decoding

BASE = "base/"
WORD_TOKENS = 16  # of an answer about a text: room for "it is not the blue one, it is red"

log = logging.getLogger(__name__)


def ask(
    generator: Generator,
    asked: Sequence[Item],
    decoding: Decoding,
    progress: bool,
    partial: Partial | None = None,
) -> list[Answer]:
    """Every item answered once and judged, in the order of the items."""
    by_id = {item.id: item for item in asked}
    kept = partial.answers if partial else {}
    judged = {id: kept[id] for id in by_id if id in kept}
    requests = [request(item, decoding) for item in asked]
    with progress_bar(len(asked), progress) as advance:
        advance(len(judged))
        for replies in generator.answer(requests, decoding, done=frozenset(judged)):
            found = {id: judge(by_id[id], reply) for id, reply in replies.items()}
            if partial is not None:
                partial.add(found.values())
            advance(len(found.keys() - judged.keys()))
            judged.update(found)
    return [judged[item.id] for item in asked]


def request(item: Item, decoding: Decoding) -> Request:
    """What the model is asked for one item."""
    detect = item.task == "detect"
    return Request(
        id=item.id,
        messages=item.messages,
        # The base model gets the random numbers of the item it is compared with.
        seed=seed_of(decoding.seed, item.id.removeprefix(BASE)),
        max_new_tokens=WORD_TOKENS if detect else decoding.max_new_tokens,
        family=item.family,
        greedy=detect and decoding.detect == "greedy",
        options=COLOURS if detect else (),
    )


def ask_base(
    base: Generator,
    items: Sequence[Item],
    decoding: Decoding,
    progress: bool,
    partial: Partial | None = None,
) -> list[Answer] | None:
    """The same prompts, answered by the base model with the same random numbers.

    None where memory is not enough for one at a time: a second model may be too much.
    """
    import torch

    try:
        return ask(base, [of_base(item) for item in items], decoding, progress, partial)
    except torch.OutOfMemoryError as error:
        log.warning("%s of the base model; this report has no base arm", error)
        return None


def of_base(item: Item) -> Item:
    """The item as it is put to the base model."""
    return dataclasses.replace(
        item, id=f"{BASE}{item.id}", family=f"{BASE}{item.family}", origin="base"
    )


def weigh(
    base: Generator, answers: Sequence[Answer], progress: bool, partial: Partial | None = None
) -> list[Answer]:
    """The answers, the written ones with their likelihood under the base model.

    Each is given its prompt under the neutral system prompt, whatever it was asked under. All have
    it or none: where memory runs out the longest were weighed, and the others are other answers.
    """
    import torch

    plain = {a.group: a.messages for a in select(answers, "watermark", "neutral")}
    written = {
        a.id: a for arm in ARMS for a in select(answers, "watermark", arm) if a.group in plain
    }
    asked = [Continuation(a.id, tuple(plain[a.group]), a.answer) for a in written.values()]
    weighed = {id: answer for id, answer in written.items() if answer.base}
    try:
        with progress_bar(len(asked), progress) as advance:
            advance(len(weighed))
            for found in base.likelihoods(asked, done=frozenset(weighed)):
                fresh = {id: weighed_answer(written[id], value) for id, value in found.items()}
                if partial is not None:
                    partial.add(fresh.values())  # the later line of an id is the one that counts
                advance(len(fresh.keys() - weighed.keys()))
                weighed.update(fresh)
    except torch.OutOfMemoryError as error:
        log.warning("%s under the base model; this report has no perplexity", error)
        weighed = {id: answer.model_copy(update={"base": {}}) for id, answer in written.items()}
    return [weighed.get(a.id, a) for a in answers]


def weighed_answer(answer: Answer, found: Likelihood) -> Answer:
    """The answer with what the base model says of it."""
    return answer.model_copy(
        update={
            "base": {"log_likelihood": found.log_likelihood, "tokens": float(found.tokens)},
        }
    )
