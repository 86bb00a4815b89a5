"""Samples for a report: the first answers of each arm, and texts in coloured pieces."""

from __future__ import annotations

from collections.abc import Sequence

import wm_score
from wm_eval.answers import Answer, select
from wm_eval.question import ARMS, ORDERS
from wm_manifest import Piece, Sample

PER_ARM = 3


def pick_samples(answers: Sequence[Answer]) -> list[Sample]:
    """The first few answers of every arm and order: enough to see what the model does."""
    picked: list[Answer] = []
    for task, arms in (("watermark", ARMS), ("detect", ORDERS)):
        for arm in arms:
            picked += select(answers, task, arm)[:PER_ARM]
    return [sample(answer) for answer in picked]


def sample(answer: Answer) -> Sample:
    """An answer as the manifest keeps it."""
    assert answer.task != "unmarked", "nobody answered with an unmarked text"
    system = [m["content"] for m in answer.messages if m["role"] == "system"]
    user = [m["content"] for m in answer.messages if m["role"] == "user"]
    return Sample(
        task=answer.task,
        arm=answer.arm,
        system=system[0] if system else None,
        prompt=user[-1],
        answer=answer.answer,
        expected=answer.expected,
        verdict=answer.verdict,
        passed=answer.passed,
        red_share=answer.share("red") if answer.task == "watermark" else None,
        pieces=pieces(answer.answer if answer.task == "watermark" else answer.text),
    )


def pieces(text: str) -> list[Piece]:
    """The text in runs of one colour; joined they give it back.

    >>> [(piece.text, piece.colour) for piece in pieces("Hi you!")]
    [('Hi you', 'red'), ('!', 'ignored')]
    """
    found: list[Piece] = []
    end = 0
    for token in wm_score.tokens(text):
        part, end = text[max(end, token.start) : token.end], max(end, token.end)
        colour = "ignored" if token.colour == "none" else token.colour
        if found and found[-1].colour == colour:
            part, _ = found[-1].text + part, found.pop()
        found.append(Piece(text=part, colour=colour))  # pyright: ignore[reportArgumentType] red, blue or ignored
    return [piece for piece in found if piece.text]
