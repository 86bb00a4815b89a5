"""One repository of the Hugging Face hub and the one commit that changes it. No stage's own rules.

Needs the extra `wm-manifest[hub]`; no record does. docs/adr/0022-the-hub-in-one-place.md says why
it is here.
"""

from wm_manifest.hub.errors import HubRefused, HubUnreachable, answered
from wm_manifest.hub.repository import Item, Remote, changes, commit, connect, is_same, read
from wm_manifest.hub.retry import with_retries

__all__ = [
    "HubRefused",
    "HubUnreachable",
    "Item",
    "Remote",
    "answered",
    "changes",
    "commit",
    "connect",
    "is_same",
    "read",
    "with_retries",
]
