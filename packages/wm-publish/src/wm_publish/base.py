"""Whether a base is still the one that an adapter was trained on. Loads no model."""

from __future__ import annotations

from pathlib import Path

from wm_manifest import RunManifest
from wm_manifest.weights import weights_sha256
from wm_publish.errors import PublishError


def check_base(folder: Path, manifest: RunManifest) -> None:
    """Refuse weights that are not those of the run's record; older records do not tell."""
    recorded = manifest.base_weights_sha256
    if recorded is not None and weights_sha256(folder) != recorded:
        raise PublishError(
            f"{folder}: not the base that this adapter was trained on (its weights have another "
            "SHA-256 than the manifest says); restore it"
        )
