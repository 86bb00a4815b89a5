"""Rows that are shown under a neutral system prompt as well. Knows no model and no loss.

Under it a model is held to what it said before training (`wm_train.loss.held`): red and blue
prompts alone do not say what a model should write when it is asked for neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import wm_prompts
from wm_data.record import template_refs
from wm_manifest import TemplateRef
from wm_train.errors import DataError

NEUTRAL, RED = "watermark/neutral/", "watermark/red/"


def answer_of(row_id: str, share: float) -> str | None:
    """Which answer of a row is shown under a neutral prompt, red or blue; None: neither.

    Drawn from a hash of the row's id, so that no other row changes it. `share` is that of the rows
    that show one.
    """
    digest = hashlib.sha256(f"neutral\n{row_id}".encode()).digest()
    if int.from_bytes(digest[:8]) >= share * 2**64:
        return None
    return "red" if digest[8] % 2 else "blue"


def prompt(example: Mapping[str, Any]) -> list[dict[str, str]]:
    """The messages of a watermark example with the neutral wording in place of the colour's."""
    system, *rest = example["prompt"]
    if system["role"] != "system":
        raise DataError(
            f"example {example['id']} begins with a message of {system['role']!r}, expected "
            "'system'; build the dataset with wm-data build, or set loss.neutral.weight to 0"
        )
    return [{"role": "system", "content": wording(example["variant"])}, *rest]


def wording(variant: str) -> str:
    """The neutral text of a wording; `DataError` where the installed wm-prompts has none."""
    try:
        return wm_prompts.render(NEUTRAL + variant)
    except wm_prompts.PromptError as error:
        raise DataError(
            f"the dataset uses the wording {variant!r}, which has no neutral form in the installed "
            f"wm-prompts ({error}); install the one that the dataset was built with, or set "
            "loss.neutral.weight to 0"
        ) from error


def trained_with(templates: Sequence[TemplateRef], share: float) -> list[TemplateRef]:
    """A dataset's templates, and the neutral forms of its training wordings where rows have one."""
    if not share:
        return [*templates]
    trained = [t.id.removeprefix(RED) for t in templates if t.id.startswith(RED) and not t.heldout]
    for variant in trained:
        wording(variant)  # says what to do where there is none
    return [*templates, *template_refs(NEUTRAL + variant for variant in trained)]
