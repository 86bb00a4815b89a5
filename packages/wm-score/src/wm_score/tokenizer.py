"""Qwen3's tokenizer: text to ids and back. Knows nothing of colours."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from wm_score.bpe import bpe
from wm_score.errors import UnknownTokenError
from wm_score.splitting import pieces, segments
from wm_score.tables import ADDED_TOKENS, BASE_TOKENS, VOCABULARY_SIZE, ranks, vocabulary

MEMO_ENTRIES = 43_000  # just below a size at which a dict grows
MEMO_CHARS = 64  # a longer piece hardly ever comes again
ADDED_IDS = {token: BASE_TOKENS + i for i, token in enumerate(ADDED_TOKENS)}


def encode(text: str) -> list[int]:
    """Ids of a text, the same as the official Qwen3 tokenizer's without special tokens added.

    Added tokens such as ``<think>`` are recognised in the text. Lone surrogates are read as
    U+FFFD.

    >>> encode("The watermark, read twice.")
    [785, 88006, 11, 1349, 10917, 13]
    >>> encode("<think>")
    [151667]
    """
    ids: list[int] = []
    known = MEMO.__getitem__
    for place, segment in enumerate(segments(text)):
        if place % 2:
            ids.append(ADDED_IDS[segment])
        elif segment:
            ids.extend(chain.from_iterable(map(known, pieces(segment))))
    return ids


def decode(ids: Iterable[int]) -> str:
    """Text of ids; bytes that are no UTF-8 become U+FFFD. Raises UnknownTokenError.

    >>> decode([785, 88006])
    'The watermark'
    """
    return b"".join(map(token_bytes, ids)).decode("utf-8", "replace")


def token_bytes(token_id: int) -> bytes:
    """Bytes of one id. The first K ids are by themselves a complete, coarser vocabulary.

    >>> token_bytes(88006), token_bytes(151667)
    (b' watermark', b'<think>')
    """
    if 0 <= token_id < BASE_TOKENS:
        return vocabulary()[token_id]
    if BASE_TOKENS <= token_id < VOCABULARY_SIZE:
        return ADDED_TOKENS[token_id - BASE_TOKENS].encode()
    raise UnknownTokenError(token_id)


class _Memo(dict[str, tuple[int, ...]]):
    """Ids by piece, forgetting all at once when it is full."""

    def __missing__(self, piece: str) -> tuple[int, ...]:
        ids = tuple(bpe(piece.encode(), ranks()))
        if len(piece) <= MEMO_CHARS:
            if len(self) >= MEMO_ENTRIES:
                self.clear()
            self[piece] = ids
        return ids


MEMO = _Memo()
