"""The state of one repository, what differs from a set of files, and the one commit.

Knows nothing of runs and datasets, and never tries again: `wm_manifest.hub.retry` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wm_manifest.hub.errors import HubUnreachable
from wm_manifest.record import FileRef
from wm_manifest.run import HubRef

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.hf_api import RepoFile, RepoFolder

    Operation = CommitOperationAdd | CommitOperationDelete

Kind = Literal["model", "dataset"]


@dataclass(frozen=True)
class Item:
    """One file to upload: its path in the repository, size and hash, and where its bytes are."""

    ref: FileRef
    source: Path | bytes


@dataclass(frozen=True)
class Remote:
    """A repository as it was when it was read."""

    repo_id: str
    kind: Kind
    commit: str
    private: bool
    files: dict[str, tuple[str, str]]  # path -> ("sha256" or "git", hash of the content)


def connect(library: str, token: str | None = None, endpoint: str | None = None) -> HfApi:
    """The hub's client with a token; `HubUnreachable` when there is none. Asks nothing yet."""
    from huggingface_hub import HfApi, get_token

    token = token or get_token()
    if not token:
        raise HubUnreachable("no Hugging Face token; log in with `hf auth login` or set HF_TOKEN")
    return HfApi(endpoint=endpoint, token=token, library_name=library)


def read(api: HfApi, repo_id: str, private: bool, kind: Kind = "model") -> Remote:
    """The repository's state at its newest commit; it is created when it does not exist."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.repo_info(repo_id, repo_type=kind)
    except RepositoryNotFoundError:
        api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True)
        info = api.repo_info(repo_id, repo_type=kind)
    assert info.sha, "the hub gives every repository a first commit"
    tree = api.list_repo_tree(repo_id, recursive=True, revision=info.sha, repo_type=kind)
    return Remote(
        repo_id=repo_id,
        kind=kind,
        commit=info.sha,
        private=bool(info.private),
        files={entry.path: known for entry in tree if (known := _hash_of(entry))},
    )


def changes(remote: Remote, items: list[Item], ours: Iterable[str]) -> list[Operation]:
    """What to add and what to delete, in the order of `items`.

    `ours` are the files there that an upload like this one wrote: those of them that are not among
    the items go. Any other file is left alone.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    adds: list[Operation] = [
        CommitOperationAdd(
            item.ref.path, item.source if isinstance(item.source, bytes) else str(item.source)
        )
        for item in items
        if not is_same(item, remote.files.get(item.ref.path))
    ]
    stale = sorted(set(ours) & set(remote.files) - {item.ref.path for item in items})
    return [*adds, *(CommitOperationDelete(path, is_folder=False) for path in stale)]


def commit(api: HfApi, remote: Remote, operations: list[Operation], message: str) -> HubRef:
    """Make the changes in one commit, or none when there are none; where the repository is then.

    The commit carries the parent that it was made for, so a repository that changed meanwhile
    refuses it and stays as it is. To try again is to read the repository again.
    """
    oid = remote.commit
    if operations:
        oid = api.create_commit(
            remote.repo_id,
            operations,
            repo_type=remote.kind,
            commit_message=message,
            parent_commit=remote.commit,
        ).oid
    folder = "datasets/" if remote.kind == "dataset" else ""
    url = f"{api.endpoint}/{folder}{remote.repo_id}/tree/{oid}"
    return HubRef(repo_id=remote.repo_id, commit=oid, url=url)


def is_same(item: Item, known: tuple[str, str] | None) -> bool:
    """Whether a file's hash, as `Remote.files` has it, is the item's."""
    if known is None:
        return False
    kind, digest = known
    if kind == "sha256":
        return digest == item.ref.sha256
    content = item.source if isinstance(item.source, bytes) else item.source.read_bytes()
    # Git names a blob by the hash of its length and content.
    return digest == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _hash_of(entry: RepoFile | RepoFolder) -> tuple[str, str] | None:
    from huggingface_hub.hf_api import RepoFile

    if not isinstance(entry, RepoFile):
        return None
    return ("sha256", entry.lfs.sha256) if entry.lfs else ("git", entry.blob_id)
