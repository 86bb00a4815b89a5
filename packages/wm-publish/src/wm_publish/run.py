"""Publishing, step by step: card, list, checks, one commit, and the commit noted in the run."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from wm_manifest import HubRef, ReleaseManifest, RunManifest, save
from wm_manifest.hub import HubRefused, HubUnreachable, Item, answered, connect, with_retries
from wm_publish.card import render_card
from wm_publish.errors import PublishError
from wm_publish.folders import building_place, swap_in
from wm_publish.markup import is_hub_id
from wm_publish.merge import MERGED
from wm_publish.merge import merge as merge_adapter
from wm_publish.release import CARD, collect, read_manifest, release_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

R = TypeVar("R")

STAGED = "publish"  # the folder in the run that waits for a token or a network
RELEASE = "release.json"
RELEASE_MERGED = "release-merged.json"


@dataclass(frozen=True)
class Outcome:
    """What publishing did: `release.hub` is the commit, None when nothing is up; `reason` why."""

    release: ReleaseManifest
    staged: Path | None = None
    reason: str | None = None


def prepare(
    run_dir: Path | str, repo_id: str | None = None, private: bool = True, merge: bool = False
) -> Outcome:
    """A dry run: write the card into the run folder and return the release it would be part of.

    With `merge` it makes the merged model and lists that; the run's own card stays as it is.
    """
    run = Path(run_dir)
    manifest = read_manifest(run)
    _check_name(repo_id)
    # The card first: a run that left no model to publish still has something to say.
    if not merge:
        _write_card(run, render_card(manifest, repo_id).encode("utf-8"))
    items = collect(run, manifest, repo_id, merge_adapter(run, manifest) if merge else None)
    return Outcome(release_of(manifest, items, repo_id, private, merge), reason="a dry run")


def publish(
    run_dir: Path | str,
    repo_id: str | None = None,
    private: bool = True,
    force: bool = False,
    merge: bool = False,
    *,
    token: str | None = None,
    endpoint: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Upload a run in one commit, or lay it ready in `RUN/publish/` when the hub is out of reach.

    Without `repo_id` it goes where it went before, or to `<your user name>/<name of the run>`.
    With `merge` the adapter's merged model goes up, by default to `<name of the run>-merged`; the
    run's manifest keeps the commit of the adapter itself.
    Raises `PublishError` for what would fail again: a refused token, a secret in a file, a public
    repository, a larger evaluation already there.
    """
    run = Path(run_dir)
    manifest = read_manifest(run)
    _check_name(repo_id)
    if not merge:
        repo_id = repo_id or (manifest.hub.repo_id if manifest.hub else None)
    merged = merge_adapter(run, manifest) if merge else None
    keys = [token] if token else []  # what no file may hold, beside the keys that are known anyway
    try:
        api = connect("wm-publish", token, endpoint)
        name = manifest.name + ("-merged" if merge else "")
        repo_id = repo_id or with_retries(lambda: _own_repo(api, name), sleep)
        items = collect(run, manifest, repo_id, merged, keys)
        hub = with_retries(lambda: _push(api, repo_id, items, private, force, merge), sleep)
    except HubUnreachable as reason:
        return _stage(run, manifest, repo_id, private, str(reason), merged, keys)
    except HubRefused as error:
        raise PublishError(str(error)) from error
    release = release_of(manifest, items, repo_id, private).model_copy(update={"hub": hub})
    if merged:
        save(release, run / RELEASE_MERGED)
        return Outcome(release)
    _write_card(run, render_card(manifest, repo_id).encode("utf-8"))
    save(release, run / RELEASE)
    if manifest.hub == hub:
        return Outcome(release, reason="nothing had changed, so no commit was made")
    # Read anew: a run that goes on has written more since, and an upload takes minutes.
    save(read_manifest(run).model_copy(update={"hub": hub}), run / "manifest.json")
    return Outcome(release)


def stage(
    run_dir: Path | str, repo_id: str | None, private: bool, reason: str, merge: bool = False
) -> Outcome:
    """Lay the complete folder ready in `RUN/publish/` without asking the hub; `reason` says why.

    With `merge` it is the merged model, in `RUN/publish-merged/`. Raises `PublishError` for a run
    that could not be uploaded by anyone: a file missing, or with a secret in it.
    """
    run = Path(run_dir)
    manifest = read_manifest(run)
    return _stage(
        run, manifest, repo_id, private, reason, merge_adapter(run, manifest) if merge else None
    )


def command(run_dir: Path | str, repo_id: str | None, private: bool, merge: bool = False) -> str:
    """What to type to upload a run; `repo_id` is left out where the run knows it by itself.

    >>> command("my runs/a", "me/x", private=False)
    "uv run wm-publish 'my runs/a' --repo-id me/x --public"
    """
    words = ["uv", "run", "wm-publish", str(run_dir), *(("--repo-id", repo_id) if repo_id else ())]
    words += ["--merge"] if merge else []
    return shlex.join(words if private else [*words, "--public"])


def _check_name(repo_id: str | None) -> None:
    if repo_id is not None and not (is_hub_id(repo_id) and "/" in repo_id):
        raise PublishError(f"{repo_id!r} is no repository name; expected the form user/name")


def _own_repo(api: HfApi, name: str) -> str:
    user = answered(lambda: cast("dict[str, Any]", api.whoami()))
    repo_id = f"{user['name']}/{name}"
    if not is_hub_id(repo_id):
        raise PublishError(f"{repo_id!r} is no repository name; pass --repo-id user/name")
    return repo_id


def _push(
    api: HfApi, repo_id: str, items: list[Item], private: bool, force: bool, merged: bool
) -> HubRef:
    from wm_publish.hub import push

    return answered(lambda: push(api, repo_id, items, private, force, merged))


def _stage(
    run: Path,
    manifest: RunManifest,
    repo_id: str | None,
    private: bool,
    reason: str,
    merged: Path | None,
    keys: Sequence[str] = (),
) -> Outcome:
    """Lay the complete folder ready: built beside, then swapped in, so it is never half there."""
    items = collect(run, manifest, repo_id, merged, keys)
    if not merged:
        _write_card(run, render_card(manifest, repo_id).encode("utf-8"))
    staged = run / (f"{STAGED}-{MERGED}" if merged else STAGED)
    building = building_place(staged)
    try:
        for item in items:
            target = building / item.ref.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(item.source, bytes):
                target.write_bytes(item.source)
            else:
                _link_or_copy(item.source, target)
        swap_in(building, staged)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    release = release_of(manifest, items, repo_id, private, merged is not None)
    save(release, run / (RELEASE_MERGED if merged else RELEASE))
    return Outcome(release, staged, reason)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)  # weights are large, and the copy is never changed
    except OSError:
        shutil.copyfile(source, target)


def _write_card(run: Path, card: bytes) -> None:
    """Whole or not at all: a killed process leaves the old card."""
    path = run / CARD
    building = building_place(path)
    try:
        if not path.is_file() or path.read_bytes() != card:
            building.write_bytes(card)
            building.replace(path)
    except OSError as error:
        raise PublishError(f"{path}: {error.strerror}; expected a file to write") from error
    finally:
        building.unlink(missing_ok=True)
