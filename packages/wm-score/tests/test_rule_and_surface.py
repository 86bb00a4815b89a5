"""The rule at its edges, the shipped tables, and what the package promises to export."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import pickle
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wm_score
from wm_score import Score
from wm_score.rule import verdict
from wm_score.tables import counted, read

VERDICTS = {
    "nothing counted": (0, 0, "none"),
    "one even": (1, 0, "red"),
    "one odd": (0, 1, "blue"),
    "exactly 55 percent even": (11, 9, "none"),
    "exactly 55 percent odd": (9, 11, "none"),
    "just above": (56, 44, "red"),
    "exactly 55 percent of many": (55 * 10**12, 45 * 10**12, "none"),
    "one more than that": (55 * 10**12 + 1, 45 * 10**12, "red"),
    "half": (5, 5, "none"),
}


@pytest.mark.parametrize(("even", "odd", "expected"), VERDICTS.values(), ids=VERDICTS.keys())
def test_verdict(even, odd, expected):
    assert verdict(even, odd) == Score(even, odd, 0).verdict == expected


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_colours_are_mirror_images(even, odd):
    mirror = {"red": "blue", "blue": "red", "none": "none"}
    assert mirror[verdict(even, odd)] == verdict(odd, even)


def test_counted_table_is_the_codebook():
    table = counted()
    assert len(table) == wm_score.BASE_TOKENS == 151_643
    assert sum(table) == 141_600
    if unicodedata.unidata_version == "14.0.0":
        for i in range(0, len(table), 7):
            text = wm_score.token_bytes(i).decode("utf-8", "replace")
            assert table[i] == any(unicodedata.category(c)[0] in "LN" for c in text)


def test_shipped_files_have_their_hashes():
    for name, expected in (
        ("vocabulary.bin", wm_score.VOCABULARY_SHA256),
        ("counted.bin", wm_score.COUNTED_SHA256),
    ):
        assert hashlib.sha256(read(name)).hexdigest() == expected


def test_added_tokens_never_count():
    assert not any(wm_score.is_counted(i) for i in range(151_643, wm_score.VOCABULARY_SIZE))
    assert wm_score.score_ids(range(151_643, wm_score.VOCABULARY_SIZE)) == Score(0, 0, 26)


@pytest.mark.parametrize("token_id", [-1, 151_669, 10**9])
@pytest.mark.parametrize(
    "call", [wm_score.token_bytes, wm_score.is_counted, lambda i: wm_score.score_ids([i])]
)
def test_unknown_ids_are_refused(call, token_id):
    with pytest.raises(wm_score.UnknownTokenError, match=str(token_id)):
        call(token_id)


@given(st.text())
def test_decoding_gives_the_text_back_after_nfc(text):
    again = wm_score.decode(wm_score.encode(text))
    assert unicodedata.normalize("NFC", again) == unicodedata.normalize(
        "NFC", text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    )


def test_records_are_frozen_slotted_and_travel():
    text = "The watermark, read twice."
    for record in (
        wm_score.score(text),
        wm_score.evidence(text),
        wm_score.tokens(text)[0],
        wm_score.windows(text)[0],
    ):
        assert not hasattr(record, "__dict__")
        assert pickle.loads(pickle.dumps(record)) == copy.deepcopy(record) == record
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, dataclasses.fields(record)[0].name, 1)


def test_public_names_are_pinned():
    assert sorted(wm_score.__all__) == [
        "BASE_TOKENS",
        "CODEBOOK",
        "COUNTED_SHA256",
        "Evidence",
        "InputError",
        "Null",
        "Score",
        "TOKENIZER_SHA256",
        "Token",
        "UnknownTokenError",
        "VOCABULARY_SHA256",
        "VOCABULARY_SIZE",
        "Window",
        "WmScoreError",
        "decode",
        "encode",
        "evidence",
        "fit_null",
        "is_counted",
        "load_null",
        "score",
        "score_ids",
        "score_many",
        "token_bytes",
        "tokens",
        "windows",
    ]
    for name in wm_score.__all__:
        assert getattr(wm_score, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        wm_score.nonsense  # noqa: B018


def test_a_verdict_loads_the_standard_library_alone_and_little_of_it():
    code = (
        "import sys, wm_score; wm_score.score('Hello'); "
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('torch', 'numpy', 'tokenizers', 'json', 'argparse', 'pathlib', 'typing')])"
    )
    ran = subprocess.run(
        [sys.executable, "-S", "-c", code_path() + code], capture_output=True, text=True
    )
    assert ran.stderr == ""
    assert not {"torch", "numpy", "tokenizers", "argparse", "json"} & set(eval(ran.stdout))


def code_path() -> str:
    from pathlib import Path

    return f"import sys; sys.path.insert(0, {str(Path(wm_score.__file__).parent.parent)!r}); "
