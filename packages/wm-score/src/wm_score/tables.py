"""The shipped tables: vocabulary, counted ids, character classes. Knows nothing of splitting.

Nothing is read before the first call. The tables are data of codebook v1 and independent of the
running Python's Unicode version; `scripts/build_data.py` rebuilds them from their sources.
"""

from __future__ import annotations

import pkgutil
from functools import cache

CODEBOOK = "v1"
TOKENIZER_SHA256 = "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4"
VOCABULARY_SHA256 = "943bbc3fe563f877c194b5c72b4c3a722a01b32668263ccf8d63c24a60b4154b"
COUNTED_SHA256 = "272d82d0f9fd6a4231f1a3b1844cec846d93ff4ba47fff3798393717c78ebfcd"

BASE_TOKENS = 151643
ADDED_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)  # ids 151643 and on
VOCABULARY_SIZE = BASE_TOKENS + len(ADDED_TOKENS)


def read(name: str) -> bytes:
    """One shipped file's bytes."""
    data = pkgutil.get_data("wm_score", f"data/{name}")
    assert data is not None, name
    return data


@cache
def vocabulary() -> list[bytes]:
    """Bytes of every base token, in id order: 151,643 of them."""
    packed = read("vocabulary.bin")
    tokens = [packed[i : i + 1] for i in range(256)]
    tokens += packed[256:].split(b"\xff")
    assert len(tokens) == BASE_TOKENS
    return tokens


@cache
def ranks() -> dict[bytes, int]:
    """Id by token bytes. The order of ids is the order of merges, so this is the whole BPE."""
    return dict(zip(vocabulary(), range(BASE_TOKENS)))


@cache
def lefts() -> bytes:
    """One byte an id: bytes of the left of the two tokens that its merge joins, 0 for a byte."""
    return read("lefts.bin")


@cache
def counted() -> bytes:
    """One byte an id below 151643: 1 when the id holds a letter or number under Unicode 14."""
    return read("counted.bin")


@cache
def classes() -> dict[str, list[tuple[int, int]]]:
    """Code points of `letter`, `number`, `space` and `nfc_active`: ranges, both ends included."""
    import json  # only text beyond ASCII needs it

    raw: dict[str, str] = json.loads(read("classes.json"))
    return {name: _ranges(ranges) for name, ranges in raw.items() if name != "made_with"}


def _ranges(written: str) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for item in written.split():
        first, _, last = item.partition("-")
        ranges.append((int(first, 16), int(last or first, 16)))
    return ranges
