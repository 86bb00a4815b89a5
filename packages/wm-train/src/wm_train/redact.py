"""Takes secrets out of text before it is kept: by their form, and this machine's by value."""

from __future__ import annotations

import json
import netrc
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

MARK = "<redacted>"
_MIN_SECRET = 8  # a shorter value of a variable called TOKEN is a flag, not a secret
_SMALL = 2**20  # bytes: a larger file of a model's folder is a vocabulary or weights

# Only forms that nothing else has: 40 hex digits may be an old W&B key, but are a commit far more
# often, and a manifest without its commits reproduces nothing. Such keys are known by value.
# No letter may stand before one: a run called "brisk-lemur-20261126-040707" holds no "sk-" key.
_FORMS = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{16,}|wandb_v\d_[A-Za-z0-9_\-]{20,}|local-[0-9a-f]{40}"
    r"|sk-[A-Za-z0-9_\-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,})"
)
# One slash: what pathlib makes of two.
_URL_LOGIN = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.\-]+:/{1,2})[^/\s\"'<>]+@")
_URL_PASSWORD = re.compile(r"://[^/\s:@]*:(?P<password>[^/\s]+)@")
_NAME = (
    "(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?"
    "|(?:API|ACCESS|PRIVATE|AUTH|WANDB)[_-]?KEY)"
)
_VARIABLE = re.compile(_NAME, re.IGNORECASE)
# The name's end, or --optim.pack_tokens would be one.
_OPTION = re.compile(rf"(?P<name>--[\w.\-]*{_NAME})(?:=(?P<value>.*))?", re.IGNORECASE | re.DOTALL)
_QUERY = re.compile(rf"(?P<name>[?&][\w.\-]*{_NAME}=)[^&\s\"'<>]+", re.IGNORECASE)


def redact(text: str) -> str:
    """`text` with every secret replaced by `<redacted>`.

    >>> redact("git clone https://me:pw@host/x with hf_abcdefghijklmnopqrstuvwxyz")
    'git clone https://<redacted>@host/x with <redacted>'
    """
    for secret in known_secrets():
        text = text.replace(secret, MARK)
    text = _FORMS.sub(MARK, text)
    text = _URL_LOGIN.sub(rf"\g<scheme>{MARK}@", text)
    return _QUERY.sub(rf"\g<name>{MARK}", text)


def redact_command(command: Sequence[str]) -> list[str]:
    """A command line without secrets: those of `redact`, and what follows `--some-token`.

    >>> redact_command(["wm-train", "--hub-token", "abc", "--api-key=abc", "--pack_tokens", "9"])
    ['wm-train', '--hub-token', '<redacted>', '--api-key=<redacted>', '--pack_tokens', '9']
    """
    values = set(_option_values(command))
    return [
        MARK if part in values else redact(_OPTION.sub(_without_value, part)) for part in command
    ]


def redact_files(folder: Path) -> None:
    """Redact the small text files below `folder`: libraries write a base model's path into them."""
    for path in folder.rglob("*"):
        if path.suffix not in (".json", ".md", ".jinja", ".txt") or path.stat().st_size > _SMALL:
            continue
        text = path.read_text("utf-8")
        if (clean := redact(text)) != text:
            path.write_text(clean, "utf-8")


def known_secrets() -> list[str]:
    """Secrets of this process by value, longest first.

    From the environment (passwords of URLs too), the command line, the hub's login and netrc; each
    also as JSON and as URLs write it.
    """
    from huggingface_hub import get_token

    values = {v for name, v in os.environ.items() if _VARIABLE.search(name) and not _is_path(v)}
    values |= {p for text in (*os.environ.values(), *sys.argv) for p in _passwords(text)}
    values |= {*_option_values(sys.argv), get_token() or ""}
    with suppress(OSError, netrc.NetrcParseError):  # most have none, W&B ignores a broken one
        values |= {password or "" for _, _, password in netrc.netrc().hosts.values()}
    values |= {form for v in values for form in (json.dumps(v)[1:-1], quote(v, safe=""))}
    return sorted((v for v in values if len(v) >= _MIN_SECRET), key=len, reverse=True)


def _is_path(value: str) -> bool:
    """Whether a variable named for a secret says where it lies, as HF_TOKEN_PATH does."""
    with suppress(OSError, ValueError):
        return value.startswith("/") and Path(value).exists()
    return False


def _passwords(text: str) -> Iterator[str]:
    for found in _URL_PASSWORD.finditer(text):
        yield from (found["password"], unquote(found["password"]))


def _option_values(command: Sequence[str]) -> Iterator[str]:
    for number, part in enumerate(command):
        if found := _OPTION.fullmatch(part):
            following = command[number + 1] if number + 1 < len(command) else ""
            yield found["value"] if found["value"] is not None else following


def _without_value(found: re.Match[str]) -> str:
    return found["name"] if found["value"] is None else f"{found['name']}={MARK}"
