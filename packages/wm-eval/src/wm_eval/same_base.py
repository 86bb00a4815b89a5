"""Whether a local base is the one that an adapter was trained on. Warns, and refuses nothing.

Another base of the same shapes answers as fluently, and the figures are of neither model.
"""

from __future__ import annotations

import logging
from pathlib import Path

from wm_manifest import ManifestError, RunManifest, load
from wm_manifest.weights import weights_sha256

log = logging.getLogger(__name__)


def warn_of_other_base(location: str, adapter: Path, made_for: str) -> None:
    """Log a line where the weights in the folder `location` are known not to be the trained ones.

    `adapter` is a folder, and `made_for` the base that its configuration names: the same folder is
    taken for the same weights, for hashing them takes a large model some seconds. Never raises.
    """
    folder, named = Path(location), Path(made_for)
    try:
        if not folder.is_dir() or (made_for and named.resolve() == folder.resolve()):
            return
        trained_on = _recorded(adapter)
        if trained_on is None and made_for and named.is_dir():
            trained_on = weights_sha256(named)
        found = weights_sha256(folder) if trained_on else None
    except (OSError, RuntimeError, ValueError):  # a file or path that cannot be read: not known
        return
    if trained_on and found and found != trained_on:
        log.warning(
            "the adapter %s was trained on other weights than those of %s (their SHA-256 begins "
            "%s, here %s): the figures are of a model that nobody trained; its base was %s",
            *(adapter, location, trained_on[:12], found[:12], made_for or "not named"),
        )


def _recorded(adapter: Path) -> str | None:
    """The hash of the base's weights that the run beside its adapter has, if one is there."""
    try:
        return load(RunManifest, adapter.resolve().parent / "manifest.json").base_weights_sha256
    except ManifestError:  # none, or not a run's
        return None
