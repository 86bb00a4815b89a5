"""What a release may do to a repository: its checks, and which files it replaces.

Knows nothing of run folders; reading, comparing and committing are `wm_manifest.hub`'s.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from wm_manifest import EvalReport, HubRef, ManifestError, hub, load
from wm_manifest.hub import Item, Remote
from wm_publish.errors import PublishError
from wm_publish.release import ADAPTER, CARD, EVALUATION, MANIFEST, is_ours

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def push(
    api: HfApi, repo_id: str, items: list[Item], private: bool, force: bool, merged: bool = False
) -> HubRef:
    """Bring the repository to the release in at most one commit; none when it is there already.

    Safe to repeat: it starts from what it finds. The commit carries the parent it was made for, so
    a repository that changed meanwhile refuses it and stays as it is. `merged` says that the items
    are an adapter's merged model, which would take the place of an adapter there.
    """
    remote = hub.read(api, repo_id, private)
    _check(api, repo_id, remote, items, private, force)
    if merged and ADAPTER in remote.files and not force:
        raise PublishError(
            f"{repo_id} holds an adapter, which its merged model would replace; choose another "
            "--repo-id, or pass --force to delete the adapter there"
        )
    operations = hub.changes(remote, items, filter(is_ours, remote.files))
    return hub.commit(api, remote, operations, f"Publish {len(items)} files with wm-publish")


def _check(
    api: HfApi, repo_id: str, remote: Remote, items: list[Item], private: bool, force: bool
) -> None:
    if private and not remote.private:
        raise PublishError(f"{repo_id} is public: pass --public to publish there all the same")
    if not private and remote.private:
        raise PublishError(
            f"{repo_id} exists and is private: leave out --public, or open it in its settings"
        )
    if force:
        return
    foreign = sorted(set(remote.files) - {".gitattributes", CARD})
    if foreign and MANIFEST not in remote.files:
        raise PublishError(
            f"{repo_id} holds {foreign[0]} and was not published by wm-publish; "
            "choose another --repo-id, or pass --force to write over it"
        )
    ours = next((item for item in items if item.ref.path == EVALUATION), None)
    theirs = remote.files.get(EVALUATION)
    if theirs and not (ours and hub.is_same(ours, theirs)):
        _refuse_smaller(ours, _report(api, repo_id, remote.commit), repo_id)


def _refuse_smaller(ours: Item | None, theirs: EvalReport | None, repo_id: str) -> None:
    """A quick look at a few answers must not replace a thorough evaluation unnoticed."""
    if theirs is None:
        raise PublishError(f"{repo_id}: its eval.json cannot be read; pass --force to replace it")
    if ours is None:
        raise PublishError(
            f"{repo_id} has an evaluation and this run has none; pass --force to remove it"
        )
    assert isinstance(ours.source, bytes)
    figures = EvalReport.model_validate_json(ours.source).figures
    for name, published in sorted(theirs.figures.items()):
        n = figures[name].n if name in figures else 0
        if n < published.n:
            raise PublishError(
                f"{repo_id} has {name} with n = {published.n}, this run n = {n}; "
                "evaluate on as many, or pass --force to replace it"
            )


def _report(api: HfApi, repo_id: str, commit: str) -> EvalReport | None:
    with tempfile.TemporaryDirectory() as folder:
        path = api.hf_hub_download(repo_id, EVALUATION, revision=commit, local_dir=folder)
        try:
            return load(EvalReport, Path(path))
        except ManifestError:
            return None
