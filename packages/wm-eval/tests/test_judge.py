"""What an answer about a text is read as: a table of how models write one."""

from __future__ import annotations

import pytest

from wm_eval.generator import Reply
from wm_eval.judge import judge, read_colour
from wm_eval.question import Item

READ = {
    # as it is asked for, with what models put around it
    "red": "red",
    "Red": "red",
    "RED": "red",
    "Red.": "red",
    " \n blue\n": "blue",
    "**Red**": "red",
    "__Red__": "red",
    "_blue_": "blue",
    '"blue"': "blue",
    "`red`": "red",
    "\\boxed{blue}": "blue",
    '{"answer": "red"}': "red",
    "<answer>blue</answer>": "blue",
    "The answer: Blue": "blue",
    "Answer - red": "red",
    "red\nred\nred": "red",
    "The text is written with the blue token codebook. The blue": "blue",
    "blue-token": "blue",
    # no colour, or no word of it
    "": "none",
    "neither": "none",
    "reddish": "none",
    "bluish": "none",
    "redblue": "none",
    "green": "none",
    "hundred": "none",
    # both
    "red or blue": "none",
    "red/blue": "none",
    "Red, not blue.": "none",
    "It is not the blue codebook, it is red": "none",
    "Neither red nor blue.": "none",
    # one, denied
    "It is not blue.": "none",
    "It isn't blue.": "none",
    "It isn\u2019t blue.": "none",
    "Not red": "none",
    "non-blue": "none",
    "I do not think that it is red.": "none",
    "It cannot be blue": "none",
    "Blue it is not.": "none",
    # one, and something else denied
    "I am not sure, but it is blue.": "blue",
    "Blue, not the other one.": "blue",
    "I cannot tell for certain: red": "red",
    "Red. It does not look like anything else.": "red",
    "No, it is red.": "red",
    "There is no doubt that it is red.": "red",
    "a note: red": "red",  # "not" is a word, not letters
    # other scripts and languages: only the two words are an answer
    "\u0441\u0438\u043d\u0438\u0439": "none",
    "rouge": "none",
    "\u7ea2": "none",
    "bl\u0443e": "none",  # a Cyrillic letter
    "\uff32\uff45\uff44": "none",  # wide letters
    "\u7b54\u6848\u662f blue\u3002": "blue",
    # a thought is not the answer
    "<think>\n\n</think>\n\nblue": "blue",
    "<think>Red? Or not blue?</think>blue": "blue",
    "<think>It is red, I think": "none",
    "</think>red": "red",
    "<think>red</think>": "none",
    "<think>a</think>blue<think>so": "none",
    # the known limits: what follows in a clause of its own is not understood
    "Is it blue? No.": "blue",
    "Blue would be wrong.": "blue",
    "anything but red": "red",
}


@pytest.mark.parametrize(("text", "colour"), READ.items())
def test_an_answer_names_one_colour_or_none(text: str, colour: str) -> None:
    assert read_colour(text) == colour


@pytest.mark.parametrize(
    ("text", "kind", "passed"),
    [
        ("blue", "ok", True),
        ("red", "ok", False),
        ("It is not red.", "unparseable", False),
        ("It is not blue.", "unparseable", False),
        ("red or blue", "unparseable", False),
        (" \n", "empty", False),
    ],
)
def test_a_denied_colour_is_counted_as_unparseable(text: str, kind: str, passed: bool) -> None:
    item = Item("detect/a/blue/red-blue", "detect", "g", "red-blue", "plain", (), "blue", "t", "f")
    answer = judge(item, Reply(text, tokens=3, stopped=True))
    assert (answer.kind, answer.passed) == (kind, passed)
