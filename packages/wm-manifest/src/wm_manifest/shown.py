"""What an error shows of a record: the first field at fault and its value, and nothing secret."""

from __future__ import annotations

import re

from pydantic import ValidationError

from wm_manifest import secret_forms

SHOWN = 60  # characters of a wrong value in an error
LONGEST = 1_000  # characters of a field's name or a message; a hostile file's may be a million
MARK = "<redacted>"

# Rather too much: a value that is left out of an error is still in the file.
_SECRET = re.compile(
    f"{secret_forms.ANY}|{secret_forms.NOTHING_BEFORE}"
    r"(?=[0-9]*[A-Fa-f])[0-9A-Fa-f]{40,}"  # W&B's older keys; a commit is one for all we know
    r"|[A-Za-z][A-Za-z0-9+.\-]{0,30}:/{1,2}[^\s\"'<>]{1,1000}@"  # one slash: of pathlib
    r"|(?i:token|secret|password|passwd|passphrase|credentials?|key)=[^\s&\"'<>]+"
)


def without_secrets(text: str) -> str:
    """`text`, cut, with `<redacted>` in place of what looks like a key or holds a password.

    >>> without_secrets("https://me:pw@host/x?token=abc is at fault")
    '<redacted>host/x?<redacted> is at fault'
    """
    return _SECRET.sub(MARK, text[: 2 * LONGEST])[:LONGEST]  # a secret at the cut is found whole


def first_fault(error: ValidationError) -> tuple[str, str]:
    """Field and fault of the first error, with the value that stands there if it is short."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    message = first["msg"].removeprefix("Value error, ")  # before what validators of ours say
    value = first["input"]
    if first["type"] in ("missing", "json_invalid") or isinstance(value, dict | list):
        return where, message
    return where, f"{message}, found {shown(value, where)}"


def shown(value: object, field: str) -> str:
    """A wrong value as an error may show it: cut, and not at all where it may be a secret.

    >>> shown("many", "seed"), shown("hf_abcdefghijklmnopqrstuvwxyz", "seed")
    ("'many'", 'a text of 29 characters that may be a secret')
    """
    # With the field's name: hf_token=abc is one too.
    if isinstance(value, str) and _SECRET.search(f"{field[-LONGEST:]}={value[:LONGEST]}"):
        return f"a text of {len(value)} characters that may be a secret"
    text = repr(value)
    return f"{text[:SHOWN]}{'...' if len(text) > SHOWN else ''}"
