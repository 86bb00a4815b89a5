"""Decides what of a run folder is published: an explicit list, checked. Uploads nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from wm_manifest import EvalReport, FileRef, Record, ReleaseManifest, RunManifest, load
from wm_manifest.hub import Item
from wm_publish import secrets
from wm_publish.base import check_base
from wm_publish.card import render_card
from wm_publish.errors import PublishError
from wm_publish.figures import after, before
from wm_publish.markup import is_image_path
from wm_publish.metadata import base_is_on_hub
from wm_publish.public import last_name, public_manifest, public_report, without_folders

CARD = "README.md"
MANIFEST = "wm_manifest.json"
EVALUATION = "eval.json"
ADAPTER = "adapter_model.safetensors"
LARGE = 2 << 30  # bytes: seconds of hashing
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", ADAPTER)
TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json")
MODEL_FILES = (
    *WEIGHTS,
    *TOKENIZER,
    "model.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.jinja",
)


def plan(run_dir: Path | str, repo_id: str | None = None, private: bool = True) -> ReleaseManifest:
    """The release that publishing `run_dir` would make. Writes nothing, talks to no hub.

    Raises `PublishError` when a file is missing, altered since training, or holds a secret.
    """
    run = Path(run_dir)
    manifest = read_manifest(run)
    return release_of(manifest, collect(run, manifest, repo_id), repo_id, private)


def release_of(
    manifest: RunManifest,
    items: list[Item],
    repo_id: str | None,
    private: bool,
    merged: bool = False,
) -> ReleaseManifest:
    """The record of a release of these items, not uploaded yet.

    Without `repo_id` a run goes where it went before; its merged model never goes there.
    """
    before = manifest.hub.repo_id if manifest.hub and not merged else None
    return ReleaseManifest(
        run=manifest.name,
        repo_id=repo_id or before,
        private=private,
        files=[item.ref for item in items],
    )


def read_manifest(run: Path) -> RunManifest:
    """The manifest of the run folder `run`."""
    if not run.is_dir():
        raise PublishError(f"{run}: no such folder; expected a run folder, as wm-train makes it")
    return load(RunManifest, run / "manifest.json")


def collect(
    run: Path,
    manifest: RunManifest,
    repo_id: str | None = None,
    merged: Path | None = None,
    keys: Sequence[str] = (),
) -> list[Item]:
    """Every file of the release with its bytes' whereabouts, sorted by path, free of secrets.

    `merged` is the folder of the adapter's merged model, to be published in the adapter's place.
    `keys` are secrets too, beside those that this machine is known to use.
    """
    sources: dict[str, Path | bytes] = {
        CARD: render_card(manifest, repo_id, merged=merged is not None).encode("utf-8"),
        MANIFEST: _json(public_manifest(manifest)),
        **_model_files(run, merged.name if merged else manifest.output),
    }
    if manifest.output == "adapter" and not merged:
        sources |= _base_of_adapter(run, manifest)
    if evaluation := after(manifest) or before(manifest):
        path = _inside(run, evaluation.path)
        report = load(EvalReport, _file(path / EVALUATION if path.is_dir() else path, run))
        sources[EVALUATION] = _json(public_report(report))
    for plot in manifest.plots:
        if not is_image_path(plot):
            raise PublishError(
                f"plot {plot!r}: expected a plain relative path of a PNG or SVG file"
            )
        sources[plot] = _file(_inside(run, plot), run)
    items: list[Item] = []
    known = secrets.known_keys(keys)
    for path, source in _shown(sorted(sources.items())):
        secrets.refuse(path, source, known)
        items.append(Item(_ref(path, source), source))
    _check_unaltered(manifest, items)
    return items


def is_ours(path: str) -> bool:
    """Whether a path in a repository is one that a release writes: stale ones are removed.

    >>> is_ours("model-00001-of-00002.safetensors"), is_ours("notes.md"), is_ours(".gitattributes")
    (True, False, False)
    """
    parent, _, name = path.rpartition("/")
    if parent == "plots":
        return is_image_path(path)
    if not parent and name in (CARD, MANIFEST, EVALUATION):
        return True
    return parent in ("", "base") and _matches(name, MODEL_FILES)


def _shown(sources: list[tuple[str, Path | bytes]]) -> Iterable[tuple[str, Path | bytes]]:
    """`sources` behind a progress bar when there is so much to hash that one would wonder."""
    size = sum(s.stat().st_size for _, s in sources if isinstance(s, Path))
    if size < LARGE:
        return sources
    from rich.console import Console
    from rich.progress import track

    return track(sources, "Checking files", console=Console(stderr=True), transient=True)


def _json(record: Record) -> bytes:
    return (record.model_dump_json(indent=2) + "\n").encode("utf-8")


def _base_of_adapter(run: Path, manifest: RunManifest) -> dict[str, Path | bytes]:
    """What an adapter needs to find its base: the base itself, unless the hub has it."""
    base = manifest.base.location
    if base_is_on_hub(manifest):
        return _adapter_config(run, base)
    # Bases that wm-train builds are in the run, in the folder `base`.
    if last_name(base) != "base" or not (run / "base").is_dir():
        raise PublishError(
            f"{run}: the base of this adapter, {base!r}, is a folder outside the run that nobody "
            "else can load; publish that base first and train from its hub id (--model.base)"
        )
    check_base(run / "base", manifest)
    files = {f"base/{name}": path for name, path in _model_files(run, "base").items()}
    return files | _adapter_config(run, "base", always=True)


def _adapter_config(run: Path, base: str, always: bool = False) -> dict[str, Path | bytes]:
    """The adapter's configuration naming `base`, if it has to change: not a folder from here."""
    path = run / "adapter/adapter_config.json"
    try:
        fields = dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise PublishError(f"{path}: expected a JSON object, as peft writes it ({error})") from None
    named = str(fields.get("base_model_name_or_path") or "")
    if not always and without_folders(named) == named:
        return {}
    text = json.dumps(fields | {"base_model_name_or_path": base}, indent=2)
    return {"adapter_config.json": (text + "\n").encode()}


def _model_files(run: Path, folder: str) -> dict[str, Path | bytes]:
    here = _inside(run, folder)
    if not here.is_dir():
        raise PublishError(f"{here}: no such folder; this run has no finished model to publish")
    found = {path.name: path for path in sorted(here.iterdir()) if _matches(path.name, MODEL_FILES)}
    config = "adapter_config.json" if folder == "adapter" else "config.json"
    for wanted in (WEIGHTS, (config,), TOKENIZER if folder != "base" else ()):
        if wanted and not any(_matches(name, wanted) for name in found):
            raise PublishError(f"{here}: has no {wanted[0]}; was the run interrupted as it saved?")
    return {name: _file(path, run) for name, path in found.items()}


def _check_unaltered(manifest: RunManifest, items: list[Item]) -> None:
    recorded = {ref.path: ref for ref in manifest.files}
    for item in items:
        known = recorded.get(f"{manifest.output}/{item.ref.path}")
        on_disk = isinstance(item.source, Path)
        if known and on_disk and known.sha256 != item.ref.sha256:
            raise PublishError(
                f"{known.path}: not the file that training wrote (its SHA-256 begins "
                f"{item.ref.sha256[:12]}, in the manifest {known.sha256[:12]}); restore it"
            )


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _inside(run: Path, relative: str) -> Path:
    pure = PurePosixPath(relative)
    if pure.is_absolute() or ".." in pure.parts or "\\" in relative or "\0" in relative:
        raise PublishError(f"{relative!r}: expected a path inside the run folder")
    return run / pure


def _file(path: Path, run: Path) -> Path:
    """`path`, if it is a file and no link leads it out of the run folder."""
    if not path.is_file():
        raise PublishError(f"{path}: missing; the manifest lists it, or the model needs it")
    if not path.resolve().is_relative_to(run.resolve()):
        raise PublishError(f"{path}: leads out of the run folder; copy the file into it first")
    return path


def _ref(path: str, source: Path | bytes) -> FileRef:
    digest, size = hashlib.sha256(), 0
    for block in _blocks(source):
        digest.update(block)
        size += len(block)
    return FileRef(path=path, bytes=size, sha256=digest.hexdigest())


def _blocks(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while block := file.read(1 << 20):
            yield block
