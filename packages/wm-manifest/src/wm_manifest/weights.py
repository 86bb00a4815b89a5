"""One hash for the weights in a model folder, as `base_weights_sha256` of a run has it."""

from __future__ import annotations

import hashlib
from pathlib import Path

KINDS = (
    "model.safetensors",
    "model-*.safetensors",
    "pytorch_model*.bin",
)  # the first that is there


def weights_sha256(folder: Path) -> str | None:
    """SHA-256 of the weights' file; of several, of their hashes in lines; None without any."""
    for kind in KINDS:
        if shards := [_sha256(path) for path in sorted(folder.glob(kind))]:
            whole = hashlib.sha256("\n".join(shards).encode())
            return shards[0] if len(shards) == 1 else whole.hexdigest()
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
