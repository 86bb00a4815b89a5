"""How much each token of a model's vocabulary says red or blue. Loads no model.

The watermark is defined on Qwen3's ids. Another tokenizer's token stands for the Qwen3 tokens that
its text is made of; a Qwen3 token stands for itself.
"""

from __future__ import annotations

import functools
from typing import Any

import wm_score

ANCHOR = "a"  # decoded before a token, so that a space at the token's start is not stripped


def token_parities(tokenizer: Any) -> list[float]:
    """For each id of a transformers tokenizer: +1 all even (red), -1 all odd (blue), 0 neither.

    The mean over the counted Qwen3 tokens of the token's text, read as if it stood alone. Tokens
    that count for nothing (white space, punctuation, fragments of a character) and special ones
    have 0: they neither attract nor repel.
    """
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    anchor = tokenizer.encode(ANCHOR, add_special_tokens=False)
    known = [id for id in range(len(tokenizer)) if id not in special]
    texts = tokenizer.batch_decode(
        [[*anchor, id] for id in known], clean_up_tokenization_spaces=False
    )
    before = len(tokenizer.decode(anchor, clean_up_tokenization_spaces=False))
    parities = [0.0] * len(tokenizer)
    for id, text in zip(known, texts, strict=True):
        parities[id] = token_parity(id, text[before:])
    return parities


def token_parity(id: int, text: str) -> float:
    """That of a Qwen3 token's own id, or that of a text for another tokenizer's token.

    About one Qwen3 token in a hundred, most of them of scripts other than Latin, is not what its
    own text is encoded to.
    """
    if id < wm_score.BASE_TOKENS and text == wm_score.decode([id]):
        return (1.0 - 2 * (id % 2)) * wm_score.is_counted(id)
    return text_parity(text)


@functools.lru_cache(maxsize=1 << 18)
def text_parity(text: str) -> float:
    """Even minus odd over counted Qwen3 tokens.

    >>> text_parity(" the"), text_parity("\\n\\n"), text_parity(" is")
    (-1.0, 0.0, 1.0)
    """
    score = wm_score.score(text)
    return (score.even - score.odd) / score.counted if score.counted else 0.0
