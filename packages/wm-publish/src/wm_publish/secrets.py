"""Looks for keys and passwords in what is about to be published. Never repeats what it found."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wm_manifest.secret_forms import FORMS
from wm_publish.errors import PublishError

PATTERNS = FORMS | {
    # Not by their form, but by what stands before them.
    "a W&B key by its name": (
        r"(?i:key[\"'\s=:]{1,6}[0-9a-f]{40}\b|wandb login [0-9a-f]{40}\b"
        r"|api\.wandb\.ai\s+login\s+\S+\s+password\s+\S+)"
    ),
    "a URL with a password": r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/@:\"'<>]*:[^\s/@\"'<>]+@",
    # A name alone is none, and no name is so long and has a digit in it.
    "a URL with a token": r"(?i:\bhttps?://)(?=[^\s/@:]*\d)[\w.~%+-]{16,}@",
}
KEY_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY")
_TEXT = re.compile("|".join(PATTERNS.values()))
HIDDEN = "<redacted>"
_COMPILED = {name: re.compile(pattern.encode()) for name, pattern in PATTERNS.items()}
_SHORTEST_KEY = 12  # characters; a shorter value would be found in any text


@dataclass(frozen=True)
class Found:
    """What kind of secret stands where. Holds no part of the secret."""

    kind: str
    position: str


def find(content: bytes, keys: Mapping[str, re.Pattern[bytes]] | None = None) -> Found | None:
    r"""The first secret in `content`, or None. `keys` are what `known_keys` gave, or found anew.

    >>> find(b"a\nuser = https://me:pass@host/").position
    'line 2, column 8'
    >>> find(b"commit 0123456789abcdef0123456789abcdef01234567") is None
    True
    """
    for kind, pattern in (_COMPILED | dict(known_keys() if keys is None else keys)).items():
        if match := pattern.search(content):
            before = content[: match.start()]
            line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
            return Found(kind, f"line {line}, column {column}")
    return None


def hidden(text: str) -> str:
    """The text with `HIDDEN` where something looks like a secret.

    >>> hidden("use postgres://me:pass@localhost/db")
    'use <redacted>localhost/db'
    """
    return _TEXT.sub(HIDDEN, text)


def refuse(
    path: str, source: Path | bytes, keys: Mapping[str, re.Pattern[bytes]] | None = None
) -> None:
    """Raise `PublishError` naming the file and the position when it holds a secret."""
    content = source if isinstance(source, bytes) else _text_of(source)
    if found := find(content, keys):
        raise PublishError(
            f"{path}: {found.position}: this looks like {found.kind}; nothing was uploaded. "
            "Remove it, and revoke it if the file has been anywhere else"
        )


def known_keys(more: Iterable[str] = ()) -> dict[str, re.Pattern[bytes]]:
    """The keys of this process's environment and the hub's token in use, and `more`.

    Whatever their form, they must not go up; nor may they as JSON writes them.
    """
    from huggingface_hub import get_token  # also one that was stored by logging in

    values = [(f"the value of {name}", os.environ.get(name, "")) for name in KEY_VARIABLES]
    values += [("the Hugging Face token in use", token) for token in (*more, get_token() or "")]
    forms: dict[str, set[bytes]] = {}
    for kind, value in values:
        if len(value) >= _SHORTEST_KEY:
            forms.setdefault(kind, set()).update(_written(value))
    return {
        kind: re.compile(b"|".join(map(re.escape, sorted(ways)))) for kind, ways in forms.items()
    }


def _written(key: str) -> set[bytes]:
    """The key as it is, and as it stands in a JSON string."""
    quoted = {json.dumps(key, ensure_ascii=ascii_alone)[1:-1] for ascii_alone in (True, False)}
    ways = {key, *quoted, *(way.replace("/", "\\/") for way in quoted)}
    return {way.encode("utf-8", "surrogateescape") for way in ways}


def _text_of(path: Path) -> bytes:
    """The file's bytes; of safetensors the header alone, since the rest is nothing but numbers."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return file.read(min(length, 100_000_000))
