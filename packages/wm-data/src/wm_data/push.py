"""Brings a repository on the hub to a dataset folder, in one commit. Builds and changes nothing."""

# huggingface_hub's own types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wm_data import keys
from wm_data.dataset import Dataset, read
from wm_data.errors import WmDataError
from wm_data.recipe import without_folders
from wm_data.store import sha256_of
from wm_manifest import DatasetManifest, FileRef, HubRef, ManifestError, SourceRef, load, save

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from wm_manifest.hub import Item, Remote

MANIFEST = "manifest.json"


def push(
    folder: Path | str,
    repo_id: str,
    private: bool = True,
    force: bool = False,
    with_keys: bool = False,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> HubRef:
    """Upload exactly the files that the manifest lists, and the manifest; where they are then.

    Of local sources the uploaded manifest has the last part of the path alone.

    The folder is checked against its manifest first, and its texts for what looks like a key, which
    `with_keys` lets pass. The repository is made when it is not there. One that is there and public
    is not published to unless `private` is false, nor one that holds somebody's other files unless
    `force`. Files of an earlier push that this dataset does not have
    are deleted in the same commit, others are left alone; when all is there already, no commit is
    made. Safe to repeat: an upload that was interrupted has changed nothing or all.
    """
    from wm_manifest.hub import HubRefused, HubUnreachable, answered, connect, with_retries

    dataset = opened(folder, repo_id, with_keys)
    try:
        api = connect("wm-data")
        return with_retries(
            lambda: answered(lambda: _push(api, repo_id, dataset, private, force)), sleep
        )
    except HubUnreachable as reason:
        raise WmDataError(
            f"{repo_id}: not uploaded ({reason}); give the same command again later"
        ) from reason
    except HubRefused as error:
        raise WmDataError(f"{repo_id}: {error}") from error


def opened(folder: Path | str, repo_id: str, with_keys: bool = False) -> Dataset:
    """The dataset of `folder`, if it may be uploaded to `repo_id`; asks no hub."""
    check_name(repo_id)
    dataset = read(folder)
    if not with_keys:
        keys.refuse(dataset)
    return dataset


def files_of(dataset: Dataset) -> list[str]:
    """What is uploaded: the files of the manifest and the manifest, nothing else in the folder."""
    return [*(ref.path for ref in dataset.manifest.files), MANIFEST]


def check_name(repo_id: str) -> None:
    """`WmDataError` for what is no name of a user's repository."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
        valid = "/" in repo_id
    except HFValidationError:
        valid = False
    if not valid:
        raise WmDataError(f"{repo_id}: no name for a repository; expected OWNER/NAME")


def _push(api: HfApi, repo_id: str, dataset: Dataset, private: bool, force: bool) -> HubRef:
    from wm_manifest import hub

    remote = hub.read(api, repo_id, private, "dataset")
    earlier = _earlier(api, remote)
    if private and not remote.private:
        raise WmDataError(f"{repo_id} is public: pass --public to publish there all the same")
    foreign = sorted(set(remote.files) - {".gitattributes", "README.md"})
    if earlier is None and foreign and not force:
        raise WmDataError(
            f"{repo_id} holds {foreign[0]} and no dataset of wm-data; choose another name, or pass "
            "--force to put this one beside it, and over files of the same names"
        )
    message = f"Upload {dataset.manifest.name}, seed {dataset.manifest.seed}"
    with tempfile.TemporaryDirectory() as folder:
        items = _items(dataset, Path(folder))
        operations = hub.changes(remote, items, earlier or [])
        return hub.commit(api, remote, operations, message)


def _items(dataset: Dataset, folder: Path) -> list[Item]:
    """The files to upload; a manifest that names local folders is written anew into `folder`."""
    from wm_manifest.hub import Item

    path, shown = dataset.path / MANIFEST, public(dataset.manifest)
    if shown != dataset.manifest:
        path = folder / MANIFEST
        save(shown, path)
    own = FileRef(path=MANIFEST, bytes=path.stat().st_size, sha256=sha256_of(path))
    return [
        *(Item(ref, dataset.path / ref.path) for ref in dataset.manifest.files),
        Item(own, path),
    ]


def public(manifest: DatasetManifest) -> DatasetManifest:
    """The manifest without this machine's folders: of local sources the last part of the path."""

    def shown(source: dict[str, Any]) -> dict[str, Any]:
        file = source.get("file")
        return {**source, "file": without_folders(file)} if isinstance(file, str) else source

    def named(ref: SourceRef) -> SourceRef:
        update = {"location": without_folders(ref.location)} if ref.kind == "file" else {}
        return ref.model_copy(update=update)

    recipe = dict(manifest.recipe)
    for name in {"sources", "unmarked"} & recipe.keys():
        recipe[name] = [*map(shown, recipe[name])]
    found = manifest.unmarked
    if found is not None:
        found = found.model_copy(update={"sources": [*map(named, found.sources)]})
    sources = [*map(named, manifest.sources)]
    return manifest.model_copy(update={"recipe": recipe, "sources": sources, "unmarked": found})


def _earlier(api: HfApi, remote: Remote) -> list[str] | None:
    """The files that the dataset which is there now lists; None when it is not one of ours."""
    if MANIFEST not in remote.files:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = api.hf_hub_download(
            remote.repo_id,
            MANIFEST,
            repo_type="dataset",
            revision=remote.commit,
            local_dir=folder,
        )
        try:
            return [ref.path for ref in load(DatasetManifest, Path(path)).files]
        except ManifestError:
            return None
