"""Uploads a dataset folder to the hub in one commit. Builds and changes nothing."""

# huggingface_hub's own types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from pathlib import Path

from wm_data.dataset import Dataset, read
from wm_data.errors import WmDataError


def push(folder: Path | str, repo_id: str, private: bool = True) -> str:
    """Upload exactly the files that the manifest lists, and the manifest; return the commit's URL.

    The folder is checked against its manifest first. The repository is made when it is not there;
    `private` has no effect on one that is.
    """
    import huggingface_hub
    from huggingface_hub import errors

    dataset = read(folder)
    operations = [
        huggingface_hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=dataset.path / name)
        for name in files_of(dataset)
    ]
    api = huggingface_hub.HfApi()
    try:
        api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        commit = api.create_commit(
            repo_id,
            operations,
            repo_type="dataset",
            commit_message=f"Upload {dataset.manifest.name}, seed {dataset.manifest.seed}",
        )
    except errors.HFValidationError as error:
        raise WmDataError(f"{repo_id}: no name for a repository; expected OWNER/NAME") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise WmDataError(
            f"{repo_id}: the upload failed ({reason}); check the network, the name and that "
            "`hf auth login` gave a token that may write"
        ) from error
    return str(commit.commit_url)


def files_of(dataset: Dataset) -> list[str]:
    """What is uploaded: the files of the manifest and the manifest, nothing else in the folder."""
    return [*(ref.path for ref in dataset.manifest.files), "manifest.json"]
