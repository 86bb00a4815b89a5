"""Puts text from data into Markdown so that it stays text. Knows nothing of cards or runs.

Every function returns `Safe`; the card's template refuses to print any other string, so a value
that nobody thought about is an error and not a hole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

from wm_manifest import Piece

# Control characters, surrogates, line and paragraph separators, bidirectional overrides, tags:
# what a terminal or a browser would obey instead of show. Written out, not taken from unicodedata:
# a card must not change with the Python version's Unicode tables.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_NOT_LATIN = re.compile("[^ -~\xa1-\xac\xae-\u024f]")
_KEPT = {"\n", "\t"}
_ENTITIES = {ord(c): f"&#{ord(c)};" for c in '&<>"`*_[]\\|~$'} | {ord("\n"): "<br>"}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_WANDB_URL = re.compile(r"https://([a-z0-9-]+\.)*wandb\.ai/[\w./~-]*", re.ASCII)
_IMAGE_PATH = re.compile(r"([A-Za-z0-9][\w.-]*/)*[A-Za-z0-9][\w.-]*\.(png|svg)", re.ASCII)


class Safe(str):
    """Text that can stand in the card as it is."""

    __slots__ = ()


def one_line(text: str) -> str:
    r"""`text` with everything a reader could not see written as an escape, line ends too.

    >>> print(one_line("a\nb\x1b[31m"))
    a\nb\x1b[31m
    """
    return _HIDDEN.sub(lambda match: _escape(match[0]), text)


def lines(text: str) -> str:
    r"""Like `one_line`, but line ends (as `\n`) and tabs stay.

    >>> lines("a\r\nb\u2028")
    'a\nb\\u2028'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    keep = _KEPT
    return _HIDDEN.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def code(text: object) -> Safe:
    """A code span that nothing inside can close, fit for a table cell too.

    >>> print(code("a`b | c"), code(""))
    ``a`b \\x7c c`` (empty)
    """
    # A pipe ends a table cell even inside a code span, and renderers disagree on `\\|`.
    content = one_line(str(text)).replace("|", "\\x7c")
    if not content.strip():
        return Safe("(empty)")
    ticks = "`" * (_longest_run(content) + 1)
    pad = " " if content[0] in "` " or content[-1] in "` " else ""
    return Safe(f"{ticks}{pad}{content}{pad}{ticks}")


def fence(text: str, language: str = "text") -> Safe:
    """A fenced block one backtick longer than any run inside it."""
    content = lines(text).removesuffix("\n")
    ticks = "`" * max(3, _longest_run(content) + 1)
    return Safe(f"{ticks}{language}\n{content}\n{ticks}")


def html(text: str) -> Safe:
    r"""Text for the inside of an HTML element, on one source line.

    A blank line would end the HTML block and hand the rest to Markdown, so line ends are `<br>`.

    >>> print(html("<b>\n\n# x"))
    &#60;b&#62;<br><br># x
    """
    return Safe(lines(text).replace("\t", " ").translate(_ENTITIES))


def marked(pieces: Iterable[Piece]) -> Safe:
    """Red pieces bold, blue ones underlined, the rest plain; neighbours of a colour joined.

    `<b>` and `<ins>` and no `style`: hubs strip attributes from a card, but leave these two tags.

    >>> marked([Piece(text="A", colour="red"), Piece(text="b", colour="red")])
    '<b>Ab</b>'
    """
    tags = {"red": ("<b>", "</b>"), "blue": ("<ins>", "</ins>"), "ignored": ("", "")}
    parts: list[str] = []
    for colour, run in groupby(pieces, key=lambda piece: piece.colour):
        opening, closing = tags[colour]
        parts += [opening, html("".join(piece.text for piece in run)), closing]
    return Safe("".join(parts))


def literal(text: str) -> Safe:
    r"""A Python string literal, on one line, for use inside a fenced block of code.

    >>> literal("it's\n")
    '"it\'s\\n"'
    >>> print(literal("é 中`"))
    'é \u4e2d\x60'
    """
    # `repr` leaves what the running Python can print: of that stays what every Python can.
    same = _NOT_LATIN.sub(lambda match: ascii(match[0])[1:-1], repr(text))
    # Backticks are escaped so that no text can hold the run that closes the block.
    return Safe(same.replace("`", "\\x60"))


def slug(text: str) -> Safe:
    """Letters, digits and dashes of `text`: for keys and identifiers.

    >>> slug("My run / v1.0")
    'my-run-v1.0'
    """
    return Safe(re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:80] or "unnamed")


def is_hub_id(text: str) -> bool:
    """Whether `text` has the form of a hub repository's name (it need not exist).

    >>> is_hub_id("Qwen/Qwen3-0.6B"), is_hub_id("/home/me/base"), is_hub_id("../base")
    (True, False, False)
    """
    return bool(_HUB_ID.fullmatch(text)) and ".." not in text and "--" not in text


def hub_link(repo: str, revision: str | None = None, kind: str = "") -> Safe:
    """A link to a hub repository when `repo` is a hub id, a code span when it is not."""
    if not is_hub_id(repo):
        return code(repo)
    tree = f"/tree/{revision}" if revision and re.fullmatch(r"[0-9a-f]{7,40}", revision) else ""
    return Safe(f"[{code(repo)}](https://huggingface.co/{kind}{repo}{tree})")


def wandb_link(url: str) -> Safe:
    """A link for a W&B address, a code span for any other text."""
    return Safe(f"<{url}>") if _WANDB_URL.fullmatch(url) and ".." not in url else code(url)


def image(path: str) -> Safe:
    """An image by relative path; nothing for a path that could lead elsewhere.

    >>> image("plots/learning.png"), image("../../x.png"), image("https://a/b.png")
    ('![learning](plots/learning.png)', '', '')
    """
    if not is_image_path(path):
        return Safe("")
    return Safe(f"![{path.rsplit('/', 1)[-1].rsplit('.', 1)[0]}]({path})")


def is_image_path(path: str) -> bool:
    """Whether `path` is a plain relative path of a PNG or SVG file."""
    return bool(_IMAGE_PATH.fullmatch(path)) and ".." not in path


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _escape(char: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char) or ascii(char)[1:-1]
