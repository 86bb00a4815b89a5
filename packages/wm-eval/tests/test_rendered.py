"""A chat template that does not show the model what it is asked is told before the first answer."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wm_eval import WmEvalError, evaluate, items
from wm_eval.record import sha256
from wm_eval.rendered import fault, rendered_sha256
from wm_manifest import ModelRef

SYSTEM, USER = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Why?\n\nSo."},
)
TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("<system>Be brief.\n<user>Why?\n\nSo.\n", ""),
        ("<user>Be brief.\n\nWhy?\n\nSo.", ""),  # the template has no system role
        ("<system>Be  brief.\n<user>Why? So.", ""),  # white space set anew
        ("<user>Why?\n\nSo.\n", "leaves the system message out"),
        ("<system>Be brief.\n<user>\n", "leaves the user message out"),
        ("<system>Be brief.<user>Why?\n\nSo.<think>\n", "leaves <think> open"),
        ("<system>Be brief.<user>Why?\n\nSo.<think>\n\n</think>\n\n", ""),
    ],
)
def test_what_a_template_takes_away(text: str, wrong: str) -> None:
    assert fault(text, [SYSTEM, USER]) == wrong


@pytest.mark.parametrize(
    ("content", "wrong"),
    [("Is <think> red?", ""), ("think", "leaves <think> open"), ("", "leaves <think> open")],
)
def test_a_thought_in_a_message_is_not_the_templates(content: str, wrong: str) -> None:
    text = f"<user>{content}<think>" if wrong else f"<user>{content}"
    assert fault(text, [{"role": "user", "content": content}]) == wrong


def test_a_message_inside_another_is_missed_too() -> None:
    longer = {"role": "system", "content": "Why?\n\nSo. Be brief."}
    assert fault("<system>Why?\n\nSo. Be brief.", [longer, USER]) == "leaves the user message out"


@pytest.mark.parametrize(
    ("template", "wrong"),
    [
        (TURNS.replace("messages", "messages[1:]"), "leaves the system message out"),
        (
            TURNS.replace("{{ m.content }}", "{% for c in m.content %}{{ c.text }}{% endfor %}"),
            "leaves (the system message|messages) out",
        ),
        (TURNS + "{% if add_generation_prompt %}<assistant><think>\n{% endif %}", "<think> open"),
        (
            "{% if messages[0].role == 'system' %}"
            "{{ raise_exception('System role not supported') }}{% endif %}" + TURNS,
            "refuses a chat of system and user: System role not supported",
        ),
    ],
)
def test_an_evaluation_says_it_before_the_first_answer(
    template: str,
    wrong: str,
    model: Any,
    tokenizer: Any,
    dataset_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wm_eval.hf.HFGenerator.answer", lambda *a, **k: pytest.fail("was asked"))
    tokenizer.chat_template = template
    with pytest.raises(WmEvalError, match=rf"{wrong}.*; (take a|.*set tokenizer)"):
        evaluate(model, tokenizer, dataset_dir, limit=2, progress=False)


def test_the_default_of_several_templates_is_recorded(
    scripted: Any, tokenizer: Any, dataset_dir: Path
) -> None:
    default = tokenizer.chat_template
    tokenizer.chat_template = {"default": default, "tool_use": "tools"}
    model, ref = scripted(lambda request: "red"), ModelRef(location="a script")
    report = evaluate(model, tokenizer, dataset_dir, limit=2, progress=False, model_ref=ref)
    assert report.chat_template_sha256 == sha256(default)


def test_the_hash_is_of_what_the_model_reads(
    tokenizer: Any, dataset_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = items.read(dataset_dir, limit=2).watermark
    plain = rendered_sha256(tokenizer, asked)
    assert rendered_sha256(tokenizer, asked) == plain
    assert rendered_sha256(tokenizer, asked[1:]) != plain
    tokenizer.chat_template = "{{ strftime_now('%d %B') }}\n" + tokenizer.chat_template
    days: list[str] = []
    for day in (24, 24, 25):
        monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", of(day))
        days.append(rendered_sha256(tokenizer, asked))
    assert days[0] == days[1]
    assert len({plain, *days}) == 3


def of(day: int) -> Any:
    """A clock that stands still on a day of July."""
    return SimpleNamespace(now=lambda: datetime(2030, 7, day))
