"""The record of what is, or would be, uploaded for one run. Talks to no hub."""

from __future__ import annotations

from typing import Literal

from wm_manifest.record import SCHEMA_VERSION, OwnFile, Record, Version
from wm_manifest.run import HubRef


class ReleaseManifest(Record):
    """The explicit list of files of a release: nothing goes up that does not stand here."""

    kind: Literal["release"] = "release"
    schema_version: Version = SCHEMA_VERSION
    run: str
    repo_id: str | None
    private: bool
    files: list[OwnFile]
    hub: HubRef | None = None  # None until it is uploaded
