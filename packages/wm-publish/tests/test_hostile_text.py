"""Text in a manifest stays text: the card's structure does not depend on what strings say."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from huggingface_hub import ModelCard
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from wm_manifest import Piece, RunManifest
from wm_publish import render_card
from wm_publish.licences import on_the_hub

NASTY = [
    "---\nlicense: evil\n---\n",
    "\n\n# Heading\n\n- item\n\n| a | b |\n|---|---|\n",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "</details></blockquote></p><b>",
    "[click](https://evil.invalid) ![x](https://evil.invalid/x.png) <https://evil.invalid>",
    "```\n~~~\n````\nout of the fence",
    "`` ` ``` `",
    "{{ 7 * 7 }} {% raw %} {{ m.__class__ }} {# #}",
    "\x1b[31mred\x1b[0m\x00\x07\u202e\u2028\ufeff",
    "../../etc/passwd",
    "a | b \\| c \\",
    '\'; import os #\n"""',
    "%YAML 1.2\n&anchor *alias !!python/object",
    "&lt;b&gt; &#60; $$x$$ \\(x\\)",
    "\r\n---\r\n\u0085\u000b\u000c---\n",
    "\ud800",
    "",
    " ",
]
text = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(), max_size=30),
    st.lists(st.sampled_from([*NASTY, "`", "|", "\\", "<", "\n"]), max_size=4).map("".join),
)

# Where a text is cut, half of something may be left.
LONG = [value * (1_000 // len(value) + 1) for value in NASTY if value]

# Values that choose a branch, not text that is shown: they keep their form.
STRUCTURAL = {
    "kind", "status", "output", "task", "colour", "mode", "role", "sha256", "id", "path", "plots",
    "created_at", "url", "step", "files", "evaluations", "checkpoints", "on_bad_row", "detect",
    "lock_sha256", "diff_sha256", "manifest_sha256", "chat_template_sha256", "tokenizer_sha256",
    "weights_sha256", "base_weights_sha256",
}  # fmt: skip


def fill(value: Any, draw: Any, key: str = "") -> Any:
    """A copy of a manifest's JSON with every string that is shown replaced by `draw()`."""
    if key in STRUCTURAL:
        return value
    if isinstance(value, str):
        return draw()
    if isinstance(value, list):
        return [fill(item, draw, key) for item in value]
    if isinstance(value, dict):
        return {name: fill(item, draw, name) for name, item in value.items()}
    return value


def rebuild(manifest: RunManifest, draw: Any) -> RunManifest:
    data = fill(manifest.model_dump(), draw)
    # Keys are text as well: names of packages, splits, reasons.
    data["packages"] = {draw() + str(i): draw() for i in range(2)}
    data["dataset"]["dropped"] = {draw(): 1}
    data["dataset"]["splits"] = {draw(): next(iter(data["dataset"]["splits"].values()))}
    data["config"] = {draw(): {draw(): [draw()]}}
    data["base_license"] = draw()
    for sample in data["samples"]:
        if sample["task"] == "detect":  # the text to be judged, within a wording as it is in a run
            shown = "".join(piece["text"] for piece in sample["pieces"])
            sample["prompt"] = f"{draw()}{shown}{draw()}"
    for evaluation in data["evaluations"]:
        evaluation["figures"][draw() + "x"] = {"value": 0.5, "n": 1}
    return RunManifest.model_validate(data)


class Structure(HTMLParser):
    """Elements and their attributes in order; line breaks and alignment aside."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag != "br":
            self.seen.append((tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        self.seen.append(f"/{tag}")

    def handle_comment(self, data: str) -> None:
        self.seen.append("comment")

    def handle_decl(self, decl: str) -> None:
        self.seen.append("declaration")


def structure(card: str) -> list[Any]:
    parser = Structure()
    parser.feed(
        MarkdownIt("commonmark", {"html": True}).enable("table").render(ModelCard(card).text)
    )
    # An empty text is the words "(empty)" instead of a code span; nothing else may differ.
    return [seen for seen in parser.seen if seen not in (("code", []), "/code")]


@pytest.fixture(scope="module")
def benign(make_manifest: Any) -> tuple[RunManifest, list[Any]]:
    manifest = make_manifest()
    counter = iter(range(10_000))
    return manifest, structure(render_card(rebuild(manifest, lambda: f"x{next(counter)}")))


@settings(deadline=None, max_examples=30, phases=[Phase.explicit, Phase.generate])
@given(values=st.lists(text, min_size=1, max_size=6))
@example(values=NASTY)
def test_no_text_changes_the_structure_of_the_page(benign, values):
    manifest, expected = benign
    counter = iter(range(10_000))
    # Distinct strings, or two equal figure names would be one row. Short ones: a text that is cut
    # shows fewer pieces, and has a test of its own.
    hostile = rebuild(manifest, lambda: values[(n := next(counter)) % len(values)][:100] + str(n))
    card = render_card(hostile)
    assert structure(card) == expected
    assert set(ModelCard(card).data.to_dict()) == {
        "library_name", "license", "license_name", "pipeline_tag", "tags", "model-index"
    }  # fmt: skip
    assert str(ModelCard(card)) == card
    for block in re.findall(r"^```python\n(.*?)\n```$", card, re.S | re.M):
        ast.parse(block)
    card.encode("utf-8")
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\ufeff]", card) is None


@settings(deadline=None, max_examples=25, phases=[Phase.explicit, Phase.generate])
@given(value=text)
@example("---\nlicense: evil\n---")
@example("https://wandb.ai.evil.invalid/x")
@example("https://wandb.ai/x) <script>")
@example("cc-by-4.0")
def test_one_text_in_every_field_adds_no_link(make_manifest, value):
    manifest = make_manifest()
    asked = manifest.samples[0].model_copy(update={"arm": "neutral", "system": value})
    pieces = [Piece(text=value, colour=colour) for colour in ("red", "blue", "ignored")]
    judged = manifest.samples[2].model_copy(
        update={"prompt": value * 5, "answer": value, "pieces": pieces}
    )
    trained = [t for t in manifest.templates if "neutral" not in t.id]
    card = render_card(
        manifest.model_copy(
            update={
                "samples": [asked, judged],
                "name": value,
                "plots": [value],
                "created_at": value,
                "base": manifest.base.model_copy(update={"location": value}),
                "base_license": value,
                "wandb": manifest.wandb.model_copy(update={"url": value, "mode": "online"}),
                "command": [value, value],
                "templates": [t.model_copy(update={"text": value}) for t in trained],
            }
        )
    )
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(ModelCard(card).text)
    assert not value.strip() or "The **neutral** system prompt" in card
    assert re.findall(r"<a [^>]*>", html) == []
    assert re.findall(r"<(?:img|script|iframe)[^>]*>", html) == []
    named = ModelCard(card).data.license
    assert all(map(on_the_hub, [named] if isinstance(named, str) else named))


@pytest.mark.parametrize("value", LONG, ids=map(str, range(len(LONG))))
def test_a_text_that_is_cut_is_as_harmless(make_manifest, value):
    def card_of(text: str) -> str:
        pieces = [Piece(text=text, colour="red")]
        samples = [
            s.model_copy(update={"pieces": pieces, "prompt": f"A {text} B"})
            for s in make_manifest().samples
        ]
        return render_card(make_manifest(samples=samples))

    # Text all the way, but for what says that there was more.
    assert structure(card_of(value)) == structure(card_of("x" * len(value)))
    assert structure(card_of(value)).count(("i", [])) == 6
