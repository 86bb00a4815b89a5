"""Rebuilds the shipped tables of wm-score from their sources. Not part of the wheel.

    python scripts/build_data.py vocabulary path/to/tokenizer.json   # standard library, Python 3.11
    python scripts/build_data.py classes                             # needs `tokenizers`

`vocabulary` reads the official Qwen3 file, after checking its SHA-256, and writes

- `vocabulary.bin`: the 256 single bytes in id order, then every longer token in id order with
  0xFF behind each but the last (no token longer than one byte holds a byte 0xFF);
- `counted.bin`: one byte an id, 1 when the id is counted;
- `lefts.bin`: one byte an id, how many bytes its left half has (0 for a single byte): what its
  merge joins.

`classes` asks `tokenizers` which code points its `\\p{L}`, `\\p{N}` and `\\s` match and which take
part in its NFC, and writes `classes.json`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import unicodedata
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "src" / "wm_score" / "data"
TOKENIZER_SHA256 = "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4"
BASE_TOKENS = 151643
COUNTED_IDS = 141600  # under Unicode 14, the codebook's
SEPARATOR = b"\xff"


def main() -> int:
    parser = argparse.ArgumentParser(description="Rebuild the shipped tables of wm-score.")
    commands = parser.add_subparsers(dest="command", required=True)
    vocabulary = commands.add_parser("vocabulary", help="from the official tokenizer.json")
    vocabulary.add_argument("tokenizer_json", type=Path)
    commands.add_parser("classes", help="by asking the installed tokenizers library")
    arguments = parser.parse_args()
    if arguments.command == "vocabulary":
        build_vocabulary(arguments.tokenizer_json)
    else:
        build_classes()
    return 0


def build_vocabulary(path: Path) -> None:
    raw = path.read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    if digest != TOKENIZER_SHA256:
        sys.exit(f"error: {path} has SHA-256 {digest}, expected {TOKENIZER_SHA256}")
    if unicodedata.unidata_version != "14.0.0":
        sys.exit(
            f"error: this Python has Unicode {unicodedata.unidata_version}; the counted table is "
            "defined under 14.0.0: run with Python 3.11"
        )
    model = json.loads(raw)["model"]
    byte_of = {char: byte for byte, char in enumerate(byte_alphabet())}
    tokens = [b""] * BASE_TOKENS
    for text, token_id in model["vocab"].items():
        tokens[token_id] = bytes(byte_of[char] for char in text)
    check_merges(model["merges"], tokens, byte_of)
    if any(len(token) != 1 for token in tokens[:256]):
        sys.exit("error: the first 256 tokens are not the 256 bytes")
    if any(SEPARATOR in token for token in tokens[256:]):
        sys.exit("error: a token holds the separator byte")
    counted = bytes(is_counted(token) for token in tokens)
    if sum(counted) != COUNTED_IDS:
        sys.exit(f"error: {sum(counted)} counted ids, expected {COUNTED_IDS}")
    packed = b"".join(tokens[:256]) + SEPARATOR.join(tokens[256:])
    (DATA / "vocabulary.bin").write_bytes(packed)
    (DATA / "counted.bin").write_bytes(counted)
    (DATA / "lefts.bin").write_bytes(bytes(256) + lefts(model["merges"]))
    hashes = {
        "tokenizer_json": TOKENIZER_SHA256,
        "vocabulary": hashlib.sha256(packed).hexdigest(),
        "counted": hashlib.sha256(counted).hexdigest(),
    }
    print(json.dumps(hashes, indent=1))


def check_merges(merges: list[list[str]], tokens: list[bytes], byte_of: dict[str, int]) -> None:
    """The merge at rank k makes token 256 + k: so the order of ids is the order of merges."""
    for rank, (left, right) in enumerate(merges):
        made = bytes(byte_of[char] for char in left + right)
        if tokens[256 + rank] != made:
            sys.exit(f"error: merge {rank} makes {made!r}, token {256 + rank} is another")


def lefts(merges: list[list[str]]) -> bytes:
    """Bytes of the left half of each merge: in the file's alphabet one character is one byte."""
    return bytes(len(left) for left, _ in merges)


def byte_alphabet() -> list[str]:
    """The printable stand-in of each byte in a byte-level BPE file."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    stand_in = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        stand_in.setdefault(byte, chr(256 + len(stand_in) - len(printable)))
    return [stand_in[byte] for byte in range(256)]


def is_counted(token: bytes) -> bool:
    """Whether the token holds a letter or number (Unicode categories L*, N*)."""
    return any(unicodedata.category(char)[0] in "LN" for char in token.decode("utf-8", "replace"))


def build_classes() -> None:
    import tokenizers
    from tokenizers import Regex, normalizers, pre_tokenizers

    code_points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    nfc = normalizers.NFC().normalize_str

    def members(pattern: str) -> list[int]:
        split = pre_tokenizers.Split(Regex(pattern), "removed")
        found: list[int] = []
        for start in range(0, len(code_points), 4096):
            block = code_points[start : start + 4096]
            left = set("".join(p for p, _ in split.pre_tokenize_str("".join(map(chr, block)))))
            found += [c for c in block if chr(c) not in left]
        return found

    # A code point is active in NFC when it is reordered, decomposes or composes. Those that only
    # a newer Unicode than the library's knows are inert in it.
    active: set[int] = set()
    for c in code_points:
        char = chr(c)
        if nfc("a\u0345" + char) != "a\u0345" + char or nfc(char + "\u0334") != char + "\u0334":
            active.add(c)
        parts = unicodedata.normalize("NFD", char)
        if parts != char and nfc(parts) != parts:
            active.update(map(ord, parts), map(ord, pairwise_parts(char)), [c])
        if nfc(char) != char:
            active.update([c, *map(ord, nfc(char)), *map(ord, parts)])
        if unicodedata.combining(char) and nfc(char + "\u0334\u0345") != char + "\u0334\u0345":
            active.add(c)
    active.update(members(r"[\u0334\u0345]"))
    out = {
        "made_with": f"tokenizers {tokenizers.__version__}",
        "letter": as_ranges(members(r"\p{L}")),
        "number": as_ranges(members(r"\p{N}")),
        "space": as_ranges(members(r"\s")),
        "nfc_active": as_ranges(sorted(active)),
    }
    (DATA / "classes.json").write_text(json.dumps(out, indent=0) + "\n", encoding="ascii")


def pairwise_parts(char: str) -> str:
    """The two code points that a composed character splits into at its first level."""
    split = unicodedata.decomposition(char)
    if not split:  # a Hangul syllable: its first level is LV + T
        return unicodedata.normalize("NFC", unicodedata.normalize("NFD", char)[:2])
    return "".join(chr(int(part, 16)) for part in split.split() if not part.startswith("<"))


def as_ranges(code_points: list[int]) -> str:
    """Hexadecimal ranges, as `41-5a 61-7a aa`."""
    ranges: list[list[int]] = []
    for c in code_points:
        if ranges and ranges[-1][1] == c - 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c])
    return " ".join(f"{a:x}" if a == b else f"{a:x}-{b:x}" for a, b in ranges)


if __name__ == "__main__":
    sys.exit(main())
