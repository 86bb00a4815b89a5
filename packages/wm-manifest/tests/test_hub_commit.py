"""One commit to a hub on localhost that is busy, cut off, or written to by others meanwhile."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from wm_manifest import FileRef, HubRef
from wm_manifest.hub import Item, answered, changes, commit, connect, read, with_retries

pytest.importorskip("huggingface_hub", reason="needs the extra wm-manifest[hub]")
# The client of the hub hands its HTTP library the file in a way that the library calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "me/x"
FILES = {"a.txt": b"one\n", "b.bin": b"two"}
Upload = Callable[[dict[str, bytes]], HubRef]


@pytest.fixture
def upload(hub: Any) -> Upload:
    """Both uploaders do this, with checks between reading and committing; waits are in `waits`."""

    def go(files: dict[str, bytes]) -> HubRef:
        api = connect("wm-manifest", hub.token, hub.endpoint)
        items = [
            Item(FileRef(path=path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()), data)
            for path, data in files.items()
        ]

        def once() -> HubRef:
            remote = read(api, REPO, private=True)
            return commit(api, remote, changes(remote, items, FILES), "Ours")

        return with_retries(lambda: answered(once), hub.waits.append)

    return go


def titles(hub: Any) -> list[str]:
    return [found.title for found in hub.repos[f"models/{REPO}"].commits[1:]]


def test_files_go_up_in_one_commit_and_in_none_when_they_are_there(
    hub: Any, upload: Upload
) -> None:
    first = upload(FILES)
    assert titles(hub) == ["Ours"]
    assert hub.files(REPO).items() >= FILES.items()
    assert first.commit == hub.repos[f"models/{REPO}"].commits[-1].oid
    assert upload(FILES) == first
    assert titles(hub) == ["Ours"]


def test_files_of_ours_that_are_no_more_go_and_others_stay(hub: Any, upload: Upload) -> None:
    upload(FILES)
    hub.repos[f"models/{REPO}"].give({"mine.md": b"x"})
    upload({"a.txt": b"three\n"})
    kept = hub.files(REPO)
    assert (kept["a.txt"], kept["mine.md"], "b.bin" in kept) == (b"three\n", b"x", False)


def test_retry_after_is_honoured(hub: Any, upload: Upload) -> None:
    headers = {"Retry-After": "37"}
    hub.faults.append(hub.Fault("POST .*/commit/", "status", status=429, headers=headers))
    upload(FILES)
    assert hub.waits == [37.0]
    assert titles(hub) == ["Ours"]


def test_retry_after_may_be_a_date(hub: Any, upload: Upload) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)
    headers = {"Retry-After": later}
    hub.faults.append(hub.Fault("POST .*/commit/", "status", status=503, headers=headers))
    upload(FILES)
    assert len(hub.waits) == 1
    assert 200 < hub.waits[0] <= 300, "less the time that the upload took until then"


def test_waits_grow_when_the_hub_does_not_say_how_long(hub: Any, upload: Upload) -> None:
    hub.faults.append(hub.Fault("POST .*/commit/", "status", status=503, times=3))
    upload(FILES)
    assert len(hub.waits) == 3
    assert hub.waits[0] >= 1.0
    assert all(later > earlier for earlier, later in itertools.pairwise(hub.waits))


def test_a_rival_commit_is_kept_and_ours_comes_after_it(hub: Any, upload: Upload) -> None:
    hub.faults.append(hub.Fault("POST .*/commit/", "rival"))
    upload(FILES)
    # The first attempt named a parent that was no longer the newest, and changed nothing.
    assert hub.requests.count(f"POST /api/models/{REPO}/commit/main") == 2
    assert titles(hub) == ["Add a note", "Ours"]
    assert hub.files(REPO)["NOTES.md"] == b"someone was here\n"


def test_a_lost_answer_does_not_make_a_second_commit(hub: Any, upload: Upload) -> None:
    hub.faults.append(hub.Fault("POST .*/commit/", "lost"))
    reference = upload(FILES)
    assert titles(hub) == ["Ours"]
    assert reference.commit == hub.repos[f"models/{REPO}"].commits[-1].oid
