"""Takes secrets out of what is kept or shown: by their form, and this machine's by value."""

from __future__ import annotations

import json
import netrc
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote

from wm_manifest import secret_forms

Clean = Callable[[str], str]

MARK = "<redacted>"
_MIN_SECRET = 8  # a shorter value of a variable called TOKEN is a flag, not a secret
_SMALL = 2**20  # bytes: a larger file of a model's folder is a vocabulary or weights

_FORMS = re.compile(secret_forms.ANY)  # others, as W&B's older keys, are known by value
# One slash: what pathlib makes of two.
_URL_LOGIN = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.\-]+:/{1,2})[^/\s\"'<>]+@")
_URL_PASSWORD = re.compile(r"://[^/\s:@]*:(?P<password>[^/\s]+)@")
_NAME = (
    "(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?"
    "|(?:API|ACCESS|PRIVATE|AUTH|SECRET|WANDB)[_-]?KEY)"
)
# HF_TOKEN, TOKENS_FOR_X, TOKEN2 and accessTokenOfMe; not TOKENIZER.
_VARIABLE = re.compile(rf"(?i:{_NAME}S?)(?:(?![A-Za-z])|(?<=[a-z])(?=[A-Z]))")
# The name's end, or --optim.pack_tokens would be one.
_OPTION = re.compile(rf"(?P<name>--[\w.\-]*{_NAME})(?:=(?P<value>.*))?", re.IGNORECASE | re.DOTALL)
_QUERY = re.compile(rf"(?P<name>[?&][\w.\-]*{_NAME}=)[^&\s\"'<>]+", re.IGNORECASE)

# A password that is a word, as of somebody's notebook, is also a field's name or part of a prompt.
# No token is one; 16 letters may be a mail account's password for an application.
_WORD = re.compile(r"[a-z]{1,15}")
# Where a word is taken for a secret all the same, for what stands there is its user's.
_OWN = {
    *("command", "cause", "location", "file", "preset", "sync_command", "sharing_refused"),
    *("_name_or_path", "name_or_path", "base_model_name_or_path"),
}
_OWN_IN = {
    *(("model", "base"), ("data", "recipe"), ("data", "path"), ("publish", "repo_id")),
    *(("tracking", "project"), ("tracking", "entity")),
}


def redact(text: str, words: bool = True) -> str:
    """`text` with every secret replaced by `<redacted>`; `words=False`: but for plain words.

    >>> redact("git clone https://me:pw@host/x with hf_abcdefghijklmnopqrstuvwxyz")
    'git clone https://<redacted>@host/x with <redacted>'
    """
    return _without(known_secrets(), words)(text)


def redact_fields(fields: Any) -> Any:
    """JSON values whose texts have every secret replaced; keys stay as they are.

    A secret that is a plain word goes only where a user's own text stands, and what a field must
    be one of stays: the record would not be read again without it.

    >>> redact_fields({"optim": {"schedule": "cosine"}, "command": ["https://me:pw@host/x"]})
    {'optim': {'schedule': 'cosine'}, 'command': ['https://<redacted>@host/x']}
    """
    secrets = known_secrets()
    return _of_fields(fields, "", "", _without(secrets, True), _without(secrets, False))


def _of_fields(value: Any, parent: str, key: str, whole: Clean, but_words: Clean) -> Any:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {k: _of_fields(v, key, k, whole, but_words) for k, v in fields.items()}
    if isinstance(value, list):
        return [_of_fields(v, parent, key, whole, but_words) for v in cast("list[Any]", value)]
    if not isinstance(value, str):
        return value
    if key in _OWN or (parent, key) in _OWN_IN:
        return whole(value)
    return value if value in _choices() else but_words(value)


def _without(secrets: Sequence[str], words: bool) -> Clean:
    wanted = [secret for secret in secrets if words or not _WORD.fullmatch(secret)]

    def clean(text: str) -> str:
        for secret in wanted:
            text = text.replace(secret, MARK)
        text = _FORMS.sub(MARK, text)
        text = _URL_LOGIN.sub(rf"\g<scheme>{MARK}@", text)
        return _QUERY.sub(rf"\g<name>{MARK}", text)

    return clean


@cache
def _choices() -> frozenset[str]:
    """Every word that a field of a run's manifest or configuration has to be one of."""
    from wm_manifest import RunManifest
    from wm_train.config import TrainConfig

    def found(schema: Any) -> Iterator[str]:
        if isinstance(schema, dict):
            node = cast("dict[str, Any]", schema)
            yield from (word for word in node.get("enum", []) if isinstance(word, str))
            schema = list(node.values())
        for part in cast("list[Any]", schema) if isinstance(schema, list) else []:
            yield from found(part)

    schemas = (RunManifest.model_json_schema(), TrainConfig.model_json_schema())
    return frozenset(word for schema in schemas for word in found(schema))


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
        if (clean := _of_file(text, path.suffix)) != text:
            path.write_text(clean, "utf-8")


def _of_file(text: str, suffix: str) -> str:
    if suffix == ".json":
        with suppress(ValueError):  # no JSON: as any text
            fields = json.loads(text)
            clean = redact_fields(fields)
            same = json.dumps(clean) == json.dumps(fields)  # a NaN is none of itself
            return text if same else json.dumps(clean, indent=2, ensure_ascii=False) + "\n"
    return redact(text, words=suffix == ".md")  # a template or a vocabulary has words of its own


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
