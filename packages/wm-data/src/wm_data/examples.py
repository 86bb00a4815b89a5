"""Turns a seed row into two watermark and four detect examples. Wordings come from wm-prompts.

The wording of a text is drawn from a hash of (seed, row, text): once a text, so that both orders of
a detect question share everything up to the end of the text. Train and validation use the training
wordings, the test split those and the held-out ones, half and half.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import wm_prompts
from wm_data.audit import Measured
from wm_data.rows import digest

COLOURS = ("red", "blue")
ORDERS = (("red", "blue"), ("blue", "red"))
EXAMPLES_PER_ROW = 6
HERE = "\0"  # stands for the text while a question is rendered


class Example(NamedTuple):
    """One line of the dataset; the columns in their order, the messages as plain strings."""

    id: str
    row_id: str
    group: str
    source: str
    task: str  # watermark, detect
    target: str  # red, blue
    variant: str
    order: str  # detect: red-blue, blue-red; watermark: empty
    system: str
    user: str
    chosen: str
    rejected: str


def examples(item: Measured, split: str, seed: int) -> Iterator[Example]:
    """The six examples of a row: watermark red and blue, then each text in both orders."""
    row, row_id = item.row, item.row_id
    answers = {"red": row.red_answer, "blue": row.blue_answer}
    variant = draw_variant("watermark", row_id, row.prompt, split, seed)
    for target, other in ORDERS:
        yield Example(
            f"{row_id}-watermark-{target}", row_id, item.group, row.source,
            "watermark", target, variant, "",
            wording(f"watermark/{target}/{variant}"), row.prompt,
            answers[target], answers[other],
        )  # fmt: skip
    for target in COLOURS:
        variant = draw_variant("detect", row_id, answers[target], split, seed)
        yield from detect_examples(item, target, answers[target], variant)


def detect_examples(item: Measured, target: str, text: str, variant: str) -> Iterator[Example]:
    """Both orders of the question about a text of a row: which colour has it?"""
    other = "blue" if target == "red" else "red"
    system = wording(f"detect/system/{variant}")
    for first, second in ORDERS:
        before, after = around(variant, first, second)
        question = before + text + after
        yield Example(
            f"{item.row_id}-detect-{target}-{first}-first", item.row_id, item.group,
            item.row.source, "detect", target, variant, f"{first}-{second}",
            system, question,
            target, other,
        )  # fmt: skip


def draw_variant(task: str, row_id: str, text: str, split: str, seed: int) -> str:
    """The wording for one text, from a hash: no other row changes it."""
    number = int(digest(f"{seed}\n{task}\n{row_id}\n{text}")[:16], 16)
    heldout = split == "test" and number % 2 == 1
    choice = known_variants(task, heldout)
    return choice[number // 2 % len(choice)]


@functools.cache
def known_variants(task: str, heldout: bool) -> list[str]:
    return wm_prompts.variants(task, heldout=heldout)


@functools.cache
def wording(id: str) -> str:
    """A template without variables, rendered once."""
    return wm_prompts.render(id)


@functools.cache
def around(variant: str, first: str, second: str) -> tuple[str, str]:
    """A detect question before and after its text: rendered once, not once a text."""
    rendered = wm_prompts.render(
        f"detect/question/{variant}", text=HERE, first=first, second=second
    )
    before, _, after = rendered.partition(HERE)
    assert HERE not in after, variant  # a wording shows its text once
    return before, after


def template_ids() -> list[str]:
    """Ids of every template that examples can be made with."""
    parts = ("watermark/red/", "watermark/blue/", "detect/")
    return [id for id in wm_prompts.ids() if id.startswith(parts)]
