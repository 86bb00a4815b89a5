"""Takes secrets out of text before it is kept: by their form, and this machine's by value."""

from __future__ import annotations

import netrc
import os
import re
from contextlib import suppress

# Only forms that nothing else has: 40 hex digits may be an old W&B key, but are a commit far more
# often, and a manifest without its commits reproduces nothing. Such keys are known by value.
_FORMS = re.compile(
    r"hf_[A-Za-z0-9]{16,}|wandb_v\d_[A-Za-z0-9_\-]{20,}|sk-[A-Za-z0-9_\-]{20,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
)
_URL_PASSWORD = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.\-]*://)[^/\s@]+@")
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL", re.IGNORECASE)
_MIN_SECRET = 8  # a shorter value of a variable called TOKEN is a flag, not a secret


def known_secrets() -> list[str]:
    """Secrets of this machine by value, longest first: environment, hub login, netrc passwords."""
    from huggingface_hub import get_token

    values = {v for name, v in os.environ.items() if _SECRET_NAME.search(name)}
    values.add(get_token() or "")
    with suppress(OSError, netrc.NetrcParseError):  # most have none, W&B ignores a broken one
        values |= {password or "" for _, _, password in netrc.netrc().hosts.values()}
    return sorted((v for v in values if len(v) >= _MIN_SECRET), key=len, reverse=True)


def redact(text: str) -> str:
    """`text` with every secret replaced by `<redacted>`.

    >>> redact("git clone https://me:pw@host/x with hf_abcdefghijklmnopqrstuvwxyz")
    'git clone https://<redacted>@host/x with <redacted>'
    """
    for secret in known_secrets():
        text = text.replace(secret, "<redacted>")
    return _URL_PASSWORD.sub(r"\g<scheme><redacted>@", _FORMS.sub("<redacted>", text))
