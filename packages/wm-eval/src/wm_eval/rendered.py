"""Renders every prompt before the first answer, to see that nothing is lost on the way.

A template that leaves the system message out asks all three arms the same, and one that writes the
date asks something else tomorrow: both would look like facts about the model. Asks no model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from wm_eval.errors import WmEvalError
from wm_eval.prompting import Message, name_of, prompt_text
from wm_manifest import Control

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from wm_eval.question import Item

CLOCK = "strftime_now"  # the function that a chat template has the date from
DATED = "prompts are the same on another day"


def rendered_sha256(tokenizer: PreTrainedTokenizerBase, items: Iterable[Item]) -> str:
    """Hash of the prompts as the model gets them.

    Raises `WmEvalError` for the first one that the chat template takes something from.
    """
    digest = hashlib.sha256()
    for item in items:
        text = prompt_text(tokenizer, item.messages)
        if wrong := fault(text, item.messages):
            raise WmEvalError(
                f"{item.id}: the chat template of {name_of(tokenizer)} {wrong}; "
                "take a model whose template keeps system and user messages and, where it thinks, "
                "knows enable_thinking=False, or set tokenizer.chat_template"
            )
        digest.update(f"{len(text)} {text}".encode())
    return digest.hexdigest()


def dated(chat_template: str | None) -> list[Control]:
    """A note of a template that writes the date; nothing of any other."""
    if CLOCK not in (chat_template or ""):
        return []
    expected = "no date in the chat template; compare only what was asked on one day"
    return [Control(name=DATED, passed=False, value=None, expected=expected, blocking=False)]


def fault(text: str, messages: Sequence[Message]) -> str:
    """What a rendered prompt lacks of its messages, or leaves open; "" of one that is whole.

    White space around a message and in it is the template's own business.

    >>> fault("user: Hello?", [{"role": "user", "content": " Hello? "}])
    ''
    >>> fault("user: Hello?", [{"role": "system", "content": "Be brief."}])
    'leaves the system message out'
    """
    frame = text  # what the template adds: a message may hold its words, or those of another one
    for message in messages:
        content = message["content"].strip()
        if content not in frame:
            frame, content = _even(frame), _even(content)
        if content not in frame:
            return f"leaves the {message['role']} message out"
        frame = frame.replace(content, "", 1)
    return "leaves <think> open" if frame.rfind("<think>") > frame.rfind("</think>") else ""


def _even(text: str) -> str:
    return " ".join(text.split())
