"""Reads the red/blue parity watermark in any text: exact counts, a verdict, honest evidence.

Loads no model and needs nothing but the standard library.

>>> import wm_score
>>> wm_score.score("The watermark, read twice.").verdict
'blue'
"""

from wm_score.counting import count as score
from wm_score.errors import WmScoreError
from wm_score.rule import Score, score_ids
from wm_score.tables import CODEBOOK, COUNTED_SHA256, TOKENIZER_SHA256, VOCABULARY_SHA256
from wm_score.tokenizer import decode, encode, token_bytes

__version__ = "0.1.0"
__all__ = [
    "CODEBOOK",
    "COUNTED_SHA256",
    "TOKENIZER_SHA256",
    "VOCABULARY_SHA256",
    "Score",
    "WmScoreError",
    "decode",
    "encode",
    "score",
    "score_ids",
    "token_bytes",
]
