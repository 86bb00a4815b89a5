"""Text as it may go to a terminal: what one would obey is shown instead. Colours nothing."""

from __future__ import annotations


def visible(text: str, kept: str = "") -> str:
    r"""The text with each character that cannot be seen as its escape, but for those in `kept`.

    >>> visible("a\x1b[2J\nb"), visible("a\nb", kept="\n")
    ('a\\x1b[2J\\nb', 'a\nb')
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)
