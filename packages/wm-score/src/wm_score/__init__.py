"""Reads the red/blue parity watermark in any text: exact counts, a verdict, honest evidence.

Loads no model and needs nothing but the standard library.

>>> import wm_score
>>> wm_score.score("The watermark, read twice.").verdict
'blue'
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wm_score.counting import count as score
from wm_score.errors import InputError, UnknownTokenError, WmScoreError
from wm_score.rule import Score, is_counted, score_ids
from wm_score.tables import (
    BASE_TOKENS,
    CODEBOOK,
    COUNTED_SHA256,
    TOKENIZER_SHA256,
    VOCABULARY_SHA256,
    VOCABULARY_SIZE,
)
from wm_score.tokenizer import decode, encode, token_bytes

TYPE_CHECKING = False  # typing's own, without importing typing
if TYPE_CHECKING:
    from wm_score.null import Null
    from wm_score.proof import Evidence, evidence, fit_null, load_null
    from wm_score.spans import Token, tokens
    from wm_score.windowing import Window, windows

__version__ = "0.1.0"
__all__ = [
    "BASE_TOKENS",
    "CODEBOOK",
    "COUNTED_SHA256",
    "TOKENIZER_SHA256",
    "VOCABULARY_SHA256",
    "VOCABULARY_SIZE",
    "Evidence",
    "InputError",
    "Null",
    "Score",
    "Token",
    "UnknownTokenError",
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


def score_many(texts: Iterable[str]) -> Iterator[Score]:
    """Scores of texts, one at a time as they come, in memory that does not grow.

    >>> [found.verdict for found in score_many(["Hi, you", "The watermark, read twice."])]
    ['red', 'blue']
    """
    return map(score, texts)


# What a verdict does not need is loaded when it is first asked for.
LATER = {
    "Evidence": "proof",
    "Null": "null",
    "Token": "spans",
    "Window": "windowing",
    "evidence": "proof",
    "fit_null": "proof",
    "load_null": "proof",
    "tokens": "spans",
    "windows": "windowing",
}


def __getattr__(name: str) -> object:
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{LATER[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *LATER])
