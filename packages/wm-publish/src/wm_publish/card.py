"""Renders a run's manifest as a model card. Reads no file but its own template, and no clock."""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

from wm_manifest import GitState, RunManifest, TemplateRef
from wm_publish import figures, markup, samples
from wm_publish.errors import PublishError
from wm_publish.licences import licences
from wm_publish.metadata import ENDS, base_is_on_hub, metadata_yaml
from wm_publish.public import public_manifest

if TYPE_CHECKING:
    import jinja2

PARTS = ("watermark/red", "watermark/blue", "watermark/neutral", "detect/system", "detect/question")
PLACEHOLDER_REPO = "path/or/hub-id-of-this-model"


def render_card(manifest: RunManifest, repo_id: str | None = None, *, merged: bool = False) -> str:
    """The README.md of the run's release: Markdown with YAML metadata, the same for the same input.

    `repo_id` is where it will be published; without it, where the manifest says it was, if it was.
    `merged` describes the adapter's run as the whole model that merging made of it, which has
    another place than the adapter.
    Text from the manifest can hold anything at all: it shows up as text. Folders of this machine
    do not show up.
    """
    before = manifest.hub.repo_id if manifest.hub and not merged else None
    repo = repo_id or before or PLACEHOLDER_REPO
    manifest = public_manifest(manifest)
    first, last = figures.before(manifest), figures.after(manifest)
    text = _template().render(
        m=manifest,
        metadata=markup.Safe(metadata_yaml(manifest, merged)),
        merged=merged,
        repo=repo,
        base_is_on_hub=base_is_on_hub(manifest),
        on_an_end=_is_on_an_end(manifest),
        scorer=_scorer(manifest.git),
        four_bit=bool(_member(manifest.config.get("model"), "four_bit")),
        licences=licences(manifest),
        first=first,
        last=last,
        watermark_rows=figures.watermark_rows(first, last),
        detect_rows=figures.detect_rows(first, last),
        others=_all_figures(manifest),
        edited=any("/edited/" in name for name in _all_figures(manifest)),
        loss_changes=_changes(manifest),
        samples={task: samples.pick(manifest, task) for task in ("watermark", "detect")},
        cut=samples.CUT,
        plots=[path for path in manifest.plots if markup.is_image_path(path)],
        prompts=_prompts(manifest.templates),
        neutral=_neutral(manifest),
        wordings=_other_wordings(manifest.templates),
        versions=dict(sorted(manifest.packages.items())),
    )
    return text.rstrip("\n") + "\n"


def _is_on_an_end(manifest: RunManifest) -> bool:
    """Whether the adapter was put on the head or on the input embeddings."""
    targets = _member(_member(manifest.config.get("model"), "lora"), "targets")
    names = cast("list[Any]", targets) if isinstance(targets, list) else []
    return any(str(name).endswith(ENDS) for name in names)


def _changes(manifest: RunManifest) -> list[str]:
    """What the run's loss had that ORPO's paper has not."""
    loss = _member(manifest.config, "loss")
    sharpness = _member(_member(loss, "sharpness"), "watermark")
    changes = {
        "a written answer's odds are compared with its own under the other colour's prompt, and "
        "not with the other answer's (`loss.contrast`)": _member(loss, "contrast") == "prompts",
        "a written pair that is decided weighs less (`loss.sharpness`)": sharpness not in (None, 1),
        "where no colour is asked for, the model is held to its base (`loss.neutral`)": _member(
            _member(loss, "neutral"), "weight"
        )
        not in (None, 0),
    }
    return [change for change, made in changes.items() if made]


def _scorer(git: GitState) -> list[str] | None:
    """What installs wm-score as the run had it, where its commit can be fetched."""
    at = f"{git.repository}@{git.commit}"
    if not re.fullmatch(r"https://[\w.\-]+(/[\w.\-]+)+@[0-9a-f]{40}", at, re.ASCII):
        return None
    return ["pip", "install", f"wm-score @ git+{at}#subdirectory=packages/wm-score"]


def _member(value: object, name: str) -> object:
    """A member of a JSON object; None of any other value, since a configuration may be anything."""
    return cast("dict[str, Any]", value).get(name) if isinstance(value, dict) else None


def _prompts(templates: list[TemplateRef]) -> dict[str, TemplateRef]:
    """One wording a part: `plain` where there is one, else the first that training saw."""
    chosen: dict[str, TemplateRef] = {}
    for part in PARTS:
        own = [t for t in templates if t.id.rpartition("/")[0] == part]
        own.sort(key=lambda t: (t.heldout, not t.id.endswith("/plain"), t.id))
        if own:
            chosen[part] = own[0]
    return chosen


def _neutral(manifest: RunManifest) -> str | None:
    """A neutral prompt as it was asked, for a run that was not trained on any."""
    if "watermark/neutral" in _prompts(manifest.templates):
        return None
    return next((s.system for s in manifest.samples if s.arm == "neutral" and s.system), None)


def _other_wordings(templates: list[TemplateRef]) -> list[TemplateRef]:
    shown = {t.id for t in _prompts(templates).values()}
    return sorted((t for t in templates if t.id not in shown), key=lambda t: (t.heldout, t.id))


def _all_figures(manifest: RunManifest) -> list[str]:
    first, last = figures.before(manifest), figures.after(manifest)
    return sorted({name for e in (first, last) if e for name in e.figures})


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str)


FILTERS: dict[str, Callable[..., str]] = {
    "code": markup.code,
    "fence": markup.fence,
    "html": markup.html,
    "hub_link": markup.hub_link,
    "image": markup.image,
    "literal": markup.literal,
    "question": samples.question,
    "answer": samples.answer,
    "slug": markup.slug,
    "wandb_link": markup.wandb_link,
    "bounds": figures.bounds,
    "interval": figures.interval,
    "percent": figures.percent,
    "plain": figures.plain,
    "points": figures.points,
    "json": _json,  # for `fence`
    "shell": shlex.join,  # for `fence`
    "ours": markup.Safe,  # wording that stands in the template itself
}


@functools.cache
def _template() -> jinja2.Template:
    import jinja2  # a third of a second that `import wm_publish` need not wait for

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        finalize=_only_safe,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # jinja2 leaves the types of both dicts open.
    filters = cast("dict[str, Any]", environment.filters)  # pyright: ignore[reportUnknownMemberType]
    filters.update(FILTERS)
    names = cast("dict[str, Any]", environment.globals)  # pyright: ignore[reportUnknownMemberType]
    names["figure"] = figures.figure
    source = resources.files("wm_publish").joinpath("templates/card.md.jinja")
    return environment.from_string(source.read_text(encoding="utf-8"))


def _only_safe(value: object) -> object:
    """Refuse to print a string that went through none of `markup`'s functions."""
    if isinstance(value, str) and not isinstance(value, markup.Safe):
        raise PublishError(f"card template prints {value[:60]!r} unescaped: it needs a filter")
    return value
