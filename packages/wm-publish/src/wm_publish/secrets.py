"""Looks for keys and passwords in what is about to be published. Never repeats what it found."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from wm_publish.errors import PublishError

PATTERNS = {
    "a Hugging Face token": rb"\bhf_[A-Za-z0-9]{30,}",
    "a W&B key": (
        rb"(?i:wandb_v\d_[a-z0-9_]{20,}|key[\"'\s=:]{1,6}[0-9a-f]{40}\b|wandb login [0-9a-f]{40}\b"
        rb"|api\.wandb\.ai\s+login\s+\S+\s+password\s+\S+)"
    ),
    "a URL with a password": rb"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/@:\"'<>]+:[^\s/@\"'<>]+@",
    "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40})",
    "an AWS key": rb"\bAKIA[0-9A-Z]{16}\b",
    "an API key": rb"\bsk-[A-Za-z0-9_-]{32,}",
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY-----",
}
KEY_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY")
_COMPILED = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
_SHORTEST_KEY = 12  # characters; a shorter value would be found in any text


@dataclass(frozen=True)
class Found:
    """What kind of secret stands where. Holds no part of the secret."""

    kind: str
    position: str


def find(content: bytes) -> Found | None:
    r"""The first secret in `content`, or None.

    >>> find(b"a\nuser = https://me:pass@host/").position
    'line 2, column 8'
    >>> find(b"commit 0123456789abcdef0123456789abcdef01234567") is None
    True
    """
    for kind, pattern in {**_COMPILED, **_own_keys()}.items():
        if match := pattern.search(content):
            before = content[: match.start()]
            line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
            return Found(kind, f"line {line}, column {column}")
    return None


def refuse(path: str, source: Path | bytes) -> None:
    """Raise `PublishError` naming the file and the position when it holds a secret."""
    content = source if isinstance(source, bytes) else _text_of(source)
    if found := find(content):
        raise PublishError(
            f"{path}: {found.position}: this looks like {found.kind}; nothing was uploaded. "
            "Remove it, and revoke it if the file has been anywhere else"
        )


def _text_of(path: Path) -> bytes:
    """The file's bytes; of safetensors the header alone, since the rest is nothing but numbers."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return file.read(min(length, 100_000_000))


def _own_keys() -> dict[str, re.Pattern[bytes]]:
    """The keys in this process's environment: whatever their form, they must not go up."""
    values = {name: os.environ.get(name, "") for name in KEY_VARIABLES}
    return {
        f"the value of {name}": re.compile(re.escape(value.encode()))
        for name, value in values.items()
        if len(value) >= _SHORTEST_KEY
    }
