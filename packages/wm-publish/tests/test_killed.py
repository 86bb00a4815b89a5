"""The process dies in the middle of an upload: the hub has the old release or the new one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wm_manifest import RunManifest, load
from wm_publish import plan, publish

REPO = "me/wm"
COMMAND = str(Path(sys.executable).parent / "wm-publish")
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def steps(hub) -> int:
    files = hub.files(REPO)
    return RunManifest.model_validate_json(files["wm_manifest.json"]).steps


@pytest.mark.parametrize(
    ("where", "number", "code"),
    [
        ("POST /api/models/me/wm/commit/main", signal.SIGKILL, -signal.SIGKILL),
        pytest.param("PUT /lfs/", signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param("PUT /lfs/", signal.SIGKILL, -signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param(
            "POST /api/models/me/wm/preupload/main",
            signal.SIGTERM,
            -signal.SIGTERM,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_old_or_new_and_a_rerun_completes(hub, make_run, tmp_path, where, number, code):
    options = {"repo_id": REPO, "endpoint": hub.endpoint, "sleep": hub.waits.append}
    publish(make_run("old", steps=100), **options)
    run = make_run("new", n=960, steps=300)
    (run / "plots/detect.png").write_bytes(b"\x89PNG newer")
    hub.faults.append(hub.Fault(where, "slow", seconds=1.0))
    hub.requests.clear()
    home = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token, "HF_HOME": str(tmp_path / "hf")}
    env = os.environ | home | {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    child = subprocess.Popen(
        [COMMAND, str(run), "--repo-id", REPO],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not any(request.startswith(where) for request in hub.requests):
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(number)
    said = child.communicate(timeout=120)[1]
    assert child.returncode == code
    assert "Traceback" not in said
    assert load(RunManifest, run / "manifest.json").hub is None
    time.sleep(1.5)  # a request that is on its way is answered, whoever sent it
    assert steps(hub) in (100, 300)
    assert set(hub.files(REPO)) - {".gitattributes"} == {ref.path for ref in plan(run, REPO).files}
    assert publish(run, **options).release.hub is not None
    assert steps(hub) == 300
    assert len(hub.repos[f"models/{REPO}"].commits) == 3  # the hub's own, old, new
