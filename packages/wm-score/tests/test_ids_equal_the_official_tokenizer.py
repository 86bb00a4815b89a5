"""Ids and counts against `tokenizers`, on awkward strings, random ones and every code point."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wm_score
from wm_score.tables import ADDED_TOKENS

AWKWARD = {
    "empty": "",
    "one space": " ",
    "contractions": "I'll say it's what they're, we've, I'd, don't, I'm",
    "capital contractions": "I'LL IT'S THEY'RE WE'Ve I'D DON'T I'M",
    "long s contraction": "it'\u017f and '\u017fe",
    "broken contractions": "'l 'r 'v 'x '' 's's'",
    "digits": "1234567890 3.14159 1,000,000 x86_64",
    "other numbers": "½ ² Ⅷ ١٢٣ ৪৫ 〇 ㊿ 𝟘𝟙",
    "CJK": "你好,世界。これはテストです。한국어 문장입니다",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪 ☃️ ok👌ok",
    "combining marks": "e\u0301 a\u0323\u0301 a\u0301\u0323 q\u0307\u0323 \u0301start",
    "jamo": "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "singletons": "\u212b \u2126 \uf900 \ufb1d \u0958",
    "young combining characters": "a\u0898\u0301 \U00011935\U00011930 o\u1df6\u0323",
    "CRLF": "a\r\nb\r\n\r\nc\rd\n\re \r\n f\n \n g",
    "runs of spaces": "a  b   c    d     e      \n    f\t\t g \t h",
    "rare white space": "a\u00a0 b\u3000 \u3000c\u2028 d\x85 e\x0b f\x0c g \u00a0\u00a0 h",
    "space at the ends": "  a  ",
    "newline at the end": "a b.\n",
    "spaces then newline": "a   \n   b \n",
    "punctuation then newlines": 'He said: "no."\n\n"Yes!"\r\n -- (and) ...\n',
    "added tokens": "<|im_start|>user\nhi<|im_end|>\n<think>\n\n</think>\n\n<tool_call>{}</tool_call>",
    "added tokens inside words": "in<think>side<|endoftext|>of<|fim_pad|>it",
    "added tokens cut short": "<|im_start <think <|im_start||> <<think>> <|im_end|",
    "added token before a mark": "<think>\u0338 and >\u0338",
    "spaces at added tokens": "a  <think>  b <|im_end|> c",
    "NUL and controls": "a\0b \0 c\1 \1d \x1c\x1f e\x7f \0\0",
    "noncharacters": "a\uffffb \ufffe \U0010ffff \ue000",
    "code": "def f(x):\n    return x**2  # ok\n\n\nif __name__ == '__main__':\n\tf(1)\n",
    "long run of one letter": "a" * 1000,
    "long run of letters": "".join(random.Random(0).choices("abcdefgh", k=3000)),
    "long run of marks": "-" * 500 + "=" * 333 + "!" * 77,
    "long run of spaces": "x" + " " * 700 + "y" + "\n" * 300 + "\t" * 99,
    "accents": "Ünïcödé naïve façade İstanbul ŉ ǅ ﬁ ﬆ ß",
    "right to left": "שלום עולם مرحبا بالعالم",
    "Indic": "नमस्ते दुनिया தமிழ் বাংলা",
    "zero width": "a\u200bb\u200dc\ufeffd\u2060e",
}


@pytest.mark.parametrize("text", AWKWARD.values(), ids=AWKWARD.keys())
def test_awkward_text(text, official):
    check(text, official)


def test_every_base_token_alone_is_spelled_as_official(official_ranks):
    spelled = [wm_score.token_bytes(i) for i in range(len(official_ranks))]
    assert spelled == sorted(official_ranks, key=official_ranks.__getitem__)


def test_every_added_token_is_one_id(official):
    for i, token in enumerate(ADDED_TOKENS):
        assert wm_score.encode(token) == official(token) == [151643 + i]
        assert wm_score.decode([151643 + i]) == token


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text(official, text):
    check(text, official)


ATOMS = [
    *"aAeEszktrv19०²",
    *["\u0301", "\u0323", "\u0345", "\u0338", "\u0898", "\u1df6", "\u309a", "\u1161", "\u11a8"],
    *[" ", " ", "  ", "   ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\x85", "\u2028", "\x0b"],
    *["'s", "'S", "'\u017f", "'ll", "'re", "'", "\u2019s", "é", "ſ", "İ", "ﬁ", "Å", "\u212b"],
    *["中", "文章", "の", "ー", "か\u3099", "한", "\u1112", "ж", "Ω", "ש", "م", "ท", "न", "्"],
    *["🙂", "👩‍👧", "\ufe0f", "🏽", "\u200d", "\u200b", "\ufeff", "\ufffd", "\0", "\1", "\x1c"],
    *["<think>", "</think>", "<|im_end|>", "<|endoftext|>", "<|im", "|>", "<", "<tool_call>"],
    *[".", ",", "!!", "...", "_", "--", "//", "=", " the", "ing", "tion", "Hello", "x" * 70],
    *["\U00011935", "\U00011930", "\U000105c0", "\U00010d40", "𝟘", "𐐀", "\U0001e4ec"],
]


def random_strings(seed: int, n: int):
    rng = random.Random(seed)
    for _ in range(n):
        atoms = rng.choices(ATOMS, k=rng.randint(1, 24))
        if rng.random() < 0.1:
            atoms.append(chr(rng.choice([rng.randrange(0x3000), rng.randrange(0xE000, 0x110000)])))
        if rng.random() < 0.01:
            atoms.append(rng.choice(atoms) * rng.randint(50, 400))
        rng.shuffle(atoms)
        yield "".join(atoms)


def test_random_strings(official):
    for text in random_strings(20261, 6_000):
        check(text, official)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_a_million_random_strings(seed, official):
    for text in random_strings(seed, 100_000):
        check(text, official)


CONTEXTS = [
    "{c}",
    "a{c}b",
    " {c}",
    "{c}{c}",
    "{c}1",
    "\n{c}",
    "'{c}s",
    "e{c}\u0301",
    "{c} \u0323 {c}",
]
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_slice_of_all_code_points(context, official):
    rng = random.Random(context)
    below = [c for c in range(0x3400) if c < 0x800 or rng.random() < 0.08]
    rare = [c for c in range(0xA000, 0x20000) if not 0xD800 <= c < 0xE000 and rng.random() < 0.01]
    for c in below + rare:
        check(context.format(c=chr(c)), official)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("context", CONTEXTS)
def test_every_code_point(context, official):
    for c in CODE_POINTS:
        check(context.format(c=chr(c)), official)


def check(text: str, official) -> None:
    expected = official(text)
    assert wm_score.encode(text) == expected, ascii(text)
    assert wm_score.score(text) == wm_score.score_ids(expected), ascii(text)
