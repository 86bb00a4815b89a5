"""Random names for runs: base model, two words, date and time. Makes no folder."""

from __future__ import annotations

import random
import re
from datetime import datetime

MAX_LENGTH = 96  # a hub repo name's limit, which is below W&B's and any file system's


def slug(text: str) -> str:
    """`text` as lower-case letters, digits, dots and single hyphens.

    >>> slug("Qwen/Qwen3-0.6B")
    'qwen3-0.6b'
    """
    last = text.rstrip("/").rsplit("/", 1)[-1].lower()
    plain = re.sub(r"[^a-z0-9.]+|\.\.+", "-", last)
    return re.sub(r"-+", "-", plain).strip("-.") or "model"


def random_name(base: str, now: datetime) -> str:
    """A name that no seed decides: two runs with equal seeds must not share a folder.

    >>> random_name("demo", datetime(2026, 1, 2, 3, 4, 5)).endswith("-20260102-030405")
    True
    """
    import coolname

    coolname.replace_random(random.SystemRandom())
    stamp = now.strftime("%Y%m%d-%H%M%S")
    words = coolname.generate_slug(2)
    short = slug(base)[: MAX_LENGTH - len(words) - len(stamp) - 2].strip("-.")
    return f"{short}-{words}-{stamp}"
