"""The licence of a base model, and which names of licences the hub knows. Grants none."""

from __future__ import annotations

from wm_manifest import RunManifest

# fmt: off
_ON_THE_HUB = {
    "afl-3.0", "agpl-3.0", "apache-2.0", "apple-amlr", "apple-ascl", "artistic-2.0",
    "bigcode-openrail-m", "bigscience-bloom-rail-1.0", "bigscience-openrail-m", "bsd",
    "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "bsl-1.0", "c-uda", "cc", "cc-by-2.0",
    "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0",
    "cdla-permissive-2.0", "cdla-sharing-1.0", "creativeml-openrail-m", "deepfloyd-if-license",
    "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2",
    "fair-noncommercial-research-license", "gemma", "gfdl", "gpl", "gpl-2.0", "gpl-3.0",
    "grok2-community", "h-research", "intel-research", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0",
    "lgpl-lr", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "lppl-1.3c", "mit",
    "mpl-2.0", "ms-pl", "ncsa", "odbl", "odc-by", "ofl-1.1", "openmdw-1.0",
    "openrail", "openrail++", "osl-3.0", "other", "pddl", "postgresql", "unknown", "unlicense",
    "wtfpl", "zlib",
}
# fmt: on


def licences(manifest: RunManifest) -> list[str]:
    """What the base model's card names: mostly one, none where it is silent, or a list."""
    named = (manifest.base_license or "").split(",")  # wm-train writes a list with commas
    return [one.strip() for one in named if one.strip()]


def on_the_hub(name: str) -> str | None:
    """The hub's own name of a licence, None for one that it does not know.

    >>> on_the_hub("Apache-2.0"), on_the_hub("my own terms")
    ('apache-2.0', None)
    """
    lower = name.strip().lower()
    return lower if lower in _ON_THE_HUB else None
