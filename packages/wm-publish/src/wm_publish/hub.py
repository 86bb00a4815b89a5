"""One repository on the hub: its state, what differs from a release, and the one commit.

Knows nothing of run folders and never tries again: `wm_publish.retry` does.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wm_manifest import EvalReport, HubRef, ManifestError, load
from wm_publish.errors import PublishError
from wm_publish.release import CARD, EVALUATION, MANIFEST, Item, is_ours

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.hf_api import RepoFile, RepoFolder

    Operation = CommitOperationAdd | CommitOperationDelete


@dataclass(frozen=True)
class Remote:
    """A repository as it was when it was read."""

    commit: str
    private: bool
    files: dict[str, tuple[str, str]]  # path -> ("sha256" or "git", hash of the content)


def push(api: HfApi, repo_id: str, items: list[Item], private: bool, force: bool) -> HubRef:
    """Bring the repository to the release in at most one commit; none when it is there already.

    Safe to repeat: it starts from what it finds. The commit carries the parent it was made for, so
    a repository that changed meanwhile refuses it and stays as it is.
    """
    remote = read(api, repo_id, private)
    _check(api, repo_id, remote, items, private, force)
    operations = changes(remote, items)
    commit = remote.commit
    if operations:
        commit = api.create_commit(
            repo_id,
            operations,
            commit_message=f"Publish {len(items)} files with wm-publish",
            parent_commit=remote.commit,
        ).oid
    url = f"{api.endpoint}/{repo_id}/tree/{commit}"
    return HubRef(repo_id=repo_id, commit=commit, url=url)


def read(api: HfApi, repo_id: str, private: bool) -> Remote:
    """The repository's state at its newest commit; it is created when it does not exist."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(repo_id)
    except RepositoryNotFoundError:
        api.create_repo(repo_id, private=private, exist_ok=True)
        info = api.model_info(repo_id)
    assert info.sha, "the hub gives every repository a first commit"
    tree = api.list_repo_tree(repo_id, recursive=True, revision=info.sha)
    return Remote(
        commit=info.sha,
        private=bool(info.private),
        files={entry.path: known for entry in tree if (known := _hash_of(entry))},
    )


def changes(remote: Remote, items: list[Item]) -> list[Operation]:
    """What to add and what to delete. Files that no release writes are left alone."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    adds: list[Operation] = [
        CommitOperationAdd(
            item.ref.path, item.source if isinstance(item.source, bytes) else str(item.source)
        )
        for item in items
        if not _is_same(item, remote.files.get(item.ref.path))
    ]
    planned = {item.ref.path for item in items}
    stale = sorted(path for path in remote.files if is_ours(path) and path not in planned)
    return [*adds, *(CommitOperationDelete(path, is_folder=False) for path in stale)]


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
    if theirs and not (ours and _is_same(ours, theirs)):
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
        if name in figures and figures[name].n < published.n:
            raise PublishError(
                f"{repo_id} has {name} with n = {published.n}, "
                f"this run {figures[name].n}; "
                "evaluate on as many, or pass --force to replace it"
            )


def _report(api: HfApi, repo_id: str, commit: str) -> EvalReport | None:
    with tempfile.TemporaryDirectory() as folder:
        path = api.hf_hub_download(repo_id, EVALUATION, revision=commit, local_dir=folder)
        try:
            return load(EvalReport, Path(path))
        except ManifestError:
            return None


def _hash_of(entry: RepoFile | RepoFolder) -> tuple[str, str] | None:
    from huggingface_hub.hf_api import RepoFile

    if not isinstance(entry, RepoFile):
        return None
    return ("sha256", entry.lfs.sha256) if entry.lfs else ("git", entry.blob_id)


def _is_same(item: Item, known: tuple[str, str] | None) -> bool:
    if known is None:
        return False
    kind, digest = known
    if kind == "sha256":
        return digest == item.ref.sha256
    content = item.source if isinstance(item.source, bytes) else item.source.read_bytes()
    # Git names a blob by the hash of its length and content.
    return digest == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
