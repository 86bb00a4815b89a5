"""Finds the jinja files beside this module and renders them. Holds no wording itself.

An id is a file's path below this package without its suffix: `<task>/<part>/<variant>`. A variant
is a wording that every part of its task has; one whose name begins with `heldout` is for tests.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
from importlib import resources
from importlib.resources.abc import Traversable

import jinja2

SUFFIX = ".jinja"
HELD_OUT = "heldout"


class PromptError(Exception):
    """A template that does not exist, or one that was rendered without a variable it needs."""


def ids() -> list[str]:
    """All template ids, sorted.

    >>> [id for id in ids() if id.startswith("watermark/red/heldout")]
    ['watermark/red/heldout-a', 'watermark/red/heldout-b']
    """
    return sorted(_sources())


def source(id: str, /) -> str:
    """The template's text as it stands in its file, without the file's last newline.

    >>> source("watermark/red/plain")
    'Write your answer with the red token codebook.'
    """
    try:
        return _sources()[id]
    except KeyError:
        near = difflib.get_close_matches(id, ids(), n=3, cutoff=0.4)
        known = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(ids())}"
        raise PromptError(f"no prompt template {id!r}; {known}") from None


def sha256(id: str, /) -> str:
    """SHA-256 of `source(id)` in UTF-8: the same however the package was installed."""
    return hashlib.sha256(source(id).encode("utf-8")).hexdigest()


def variants(task: str, heldout: bool | None = None) -> list[str]:
    """Names of the wordings of `task`: all, the training ones (False) or the held-out ones (True).

    >>> variants("detect", heldout=True)
    ['heldout-a', 'heldout-b']
    """
    names = sorted({id.split("/")[2] for id in ids() if id.startswith(f"{task}/")})
    if not names:
        tasks = sorted({id.split("/")[0] for id in ids()})
        raise PromptError(f"no prompt templates for task {task!r}; known tasks: {', '.join(tasks)}")
    return [name for name in names if heldout in (None, name.startswith(HELD_OUT))]


def render(id: str, /, **variables: str) -> str:
    """Fill the template. Values go in as they are: braces in a text are never read as a template.

    >>> render("detect/question/brief", text="Some text.", first="red", second="blue")
    'Some text.\\n\\nCodebook: red or blue?'
    """
    try:
        return _compiled(id).render(variables)
    except jinja2.UndefinedError as error:
        raise PromptError(f"template {id!r} needs a variable that was not given: {error}") from None


@functools.cache
def _compiled(id: str) -> jinja2.Template:
    # Plain text for a model, not HTML: escaping would change the user's text.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    return environment.from_string(source(id))


@functools.cache
def _sources() -> dict[str, str]:
    """Template text by id, read once through importlib so that zipped installs work too."""
    found: dict[str, str] = {}
    for task in _folders(resources.files("wm_prompts")):
        for part in _folders(task):
            for file in part.iterdir():
                if file.name.endswith(SUFFIX):
                    id = f"{task.name}/{part.name}/{file.name.removesuffix(SUFFIX)}"
                    # A checkout with CRLF line ends must give the same text and hash.
                    text = file.read_bytes().decode("utf-8").replace("\r\n", "\n")
                    found[id] = text.removesuffix("\n")
    return found


def _folders(parent: Traversable) -> list[Traversable]:
    return [item for item in parent.iterdir() if item.is_dir() and not item.name.startswith("_")]
