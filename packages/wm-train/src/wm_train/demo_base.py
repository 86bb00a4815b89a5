"""Builds the demo's base model: a small Qwen3 with random weights, as an ordinary model folder.

Its tokenizer is the first ids of Qwen3's own byte-level BPE. The merge at rank k makes id 256 + k,
so the first K ids are a complete, coarser BPE, and every id means what it means in the full one:
the watermark's parity is the same.
"""

from __future__ import annotations

from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wm_score

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCAB = 6144  # base ids; the special tokens follow
ADDED = range(wm_score.BASE_TOKENS, wm_score.VOCABULARY_SIZE)  # ids of special tokens
LAYERS = 3
WIDTH = 128
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)  # Qwen3's split pattern, a fact of its tokenizer.json
END_OF_TURN, PAD = "<|im_end|>", "<|endoftext|>"


def build(folder: Path, seed: int) -> None:
    """Write config, weights and tokenizer of the demo base to `folder`, which must not exist."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = demo_tokenizer()
    ids: Any = tokenizer.convert_tokens_to_ids([END_OF_TURN, PAD])
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,  # as Qwen3's small sizes do
        eos_token_id=ids[0],
        pad_token_id=ids[1],
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    card = resources.files("wm_train") / "demo_base_card.md"
    (folder / "README.md").write_text(card.read_text("utf-8"), "utf-8")


def demo_tokenizer(size: int = VOCAB) -> PreTrainedTokenizerFast:
    """The first `size` ids of Qwen3's BPE with its special tokens behind them."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [wm_score.token_bytes(i) for i in range(size)]
    names = [_printable(piece) for piece in pieces]
    backend = Tokenizer(
        models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=merges(pieces))
    )
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([wm_score.decode([id]) for id in ADDED])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END_OF_TURN, pad_token=PAD, padding_side="left"
    )
    template = resources.files("wm_train") / "demo_chat_template.jinja"
    tokenizer.chat_template = template.read_text("utf-8")
    return tokenizer


def merges(pieces: list[bytes]) -> list[tuple[str, str]]:
    """The pair that each token beyond the bytes was merged from, in order of rank.

    Only the vocabulary is needed: the last merge of a token joins the two pieces that BPE leaves
    when it may use no merge of that token's rank or later.
    """
    rank = {piece: i for i, piece in enumerate(pieces)}
    out: list[tuple[str, str]] = []
    for piece in pieces[256:]:
        parts = [piece[i : i + 1] for i in range(len(piece))]
        while len(parts) > 2:
            joined = [rank.get(a + b, len(pieces)) for a, b in pairwise(parts)]
            best = joined.index(min(joined))
            assert joined[best] < rank[piece], f"{piece!r} has no merges below its own rank"
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        out.append((_printable(parts[0]), _printable(parts[1])))
    return out


def _printable(piece: bytes) -> str:
    """A token's bytes in the byte-level alphabet that BPE files are written in."""
    return "".join(_ALPHABET[byte] for byte in piece)


def _byte_alphabet() -> list[str]:
    # GPT-2's convention: printable Latin-1 stands for itself, the rest follows from U+0100 on.
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


_ALPHABET = _byte_alphabet()
