"""Judges one reply: the rule's verdict for a written answer, the colour word for a read one.

Asks no model. Sees the answer alone, decoded and encoded again: never the prompt, never the ids
that a model happened to sample.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from importlib import resources

import wm_score
from wm_eval.answers import Answer, Kind
from wm_eval.generator import Reply
from wm_eval.question import COLOURS, Item, Unmarked

_WORD = re.compile(r"[^\W_]+")  # markdown's _red_ is the word "red"
_CLAUSE_END = re.compile(r"[.,:;!?\n\u2014\u2013()]+")
_NEGATED = re.compile(r"\b(?:not|never|neither|nor|cannot|non)\b|n['\u2019]t\b")
MIN_COUNTED = 10  # counted tokens of a written answer: fewer are a word or two, not an answer


def judge(item: Item, reply: Reply) -> Answer:
    """The answer with its verdict. In the neutral arm nothing is asked for, so nothing passes."""
    score = wm_score.score(reply.text)
    if item.task == "watermark":
        kind = failure(reply, score.counted)
        verdict = str(score.verdict)
        # The rule's verdict alone is not success: an answer that was cut or refused is none, and
        # the bare word "blue" is blue by the rule without answering anything.
        passed = kind == "ok" and verdict == item.expected
    else:
        # Also of an answer that was cut: an untrained model says "the text is written with the blue
        # token codebook, which ...", and to take that for no answer would flatter every training.
        verdict = read_colour(reply.text)
        kind = "empty" if not reply.text.strip() else "ok" if verdict != "none" else "unparseable"
        passed = verdict == item.expected
    return Answer(
        id=item.id,
        task=item.task,
        group=item.group,
        arm=item.arm,
        variant=item.variant,
        heldout_wording=item.heldout_wording,
        messages=[dict(message) for message in item.messages],
        expected=item.expected,
        text=item.text,
        answer=reply.text,
        tokens=reply.tokens,
        stopped=reply.stopped,
        options=dict(reply.options),
        kind=kind,
        verdict=verdict,
        even=score.even,
        odd=score.odd,
        ignored=score.ignored,
        passed=passed,
        origin=item.origin,
        source=item.source,
        band=item.band,
    )


def unmarked(text: Unmarked) -> Answer:
    """A text that no model was asked for, scored as answers are: what the rule says of chance."""
    score = wm_score.score(text.text)
    return Answer(
        id=f"unmarked/{text.id}",
        task="unmarked",
        group=text.group,
        arm="none",
        variant="",
        heldout_wording=False,
        messages=[],
        expected=None,
        text="",
        answer=text.text,
        tokens=0,
        stopped=True,
        options={},
        kind="ok",
        verdict=str(score.verdict),
        even=score.even,
        odd=score.odd,
        ignored=score.ignored,
        passed=False,
        origin="none",
        source=text.source,
    )


def failure(reply: Reply, counted: int = MIN_COUNTED) -> Kind:
    """Why a written answer is none: empty, refused, cut at the token limit or short; else "ok".

    >>> failure(Reply(text=" ", tokens=1, stopped=True))
    'empty'
    >>> failure(Reply(text="I’m sorry, but no.", tokens=6, stopped=True))
    'refused'
    >>> failure(Reply(text="Rain falls", tokens=2, stopped=False))
    'truncated'
    >>> failure(Reply(text="Blue", tokens=1, stopped=True), counted=1)
    'short'
    """
    start = unicodedata.normalize("NFKC", reply.text).replace("\u2019", "'").casefold().strip()
    if not start:
        return "empty"
    if start.startswith(refusals()):
        return "refused"
    if not reply.stopped:
        return "truncated"
    return "ok" if counted >= MIN_COUNTED else "short"


def read_colour(text: str) -> str:
    """The one colour that the answer names, else "none".

    None where it names no colour, or both, or one in a clause with a negation: "not blue" leaves
    open what it is instead. A thought is no part of the answer, and one without its end is none.

    >>> read_colour("Blue."), read_colour("red or blue"), read_colour("reddish")
    ('blue', 'none', 'none')
    >>> read_colour("It is not blue."), read_colour("I am not sure, but it is blue.")
    ('none', 'blue')
    """
    answer = text.casefold().rpartition("</think>")[2]
    if "<think>" in answer:
        return "none"
    clauses = [c for c in _CLAUSE_END.split(answer) if _colours(c)]
    named = set[str]().union(*map(_colours, clauses))
    negated = any(_NEGATED.search(clause) for clause in clauses)
    return named.pop() if len(named) == 1 and not negated else "none"


def _colours(text: str) -> set[str]:
    return {word for word in _WORD.findall(text) if word in COLOURS}


@functools.cache
def refusals() -> tuple[str, ...]:
    """Beginnings of answers that decline, casefolded, from the data file."""
    text = (resources.files("wm_eval") / "data" / "refusals.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)
