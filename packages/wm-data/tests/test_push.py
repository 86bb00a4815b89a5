"""Upload through the real `huggingface_hub` against a local server: one commit, listed files only."""

import base64
import hashlib

import pytest

import wm_data


@pytest.fixture
def folder(small, tmp_path):
    wm_data.build(small, tmp_path / "built", progress=False)
    (tmp_path / "built/notes.txt").write_text("not in the manifest")
    return tmp_path / "built"


def test_one_commit_with_the_files_of_the_manifest(hub, folder):
    done = hub.run("push", str(folder), "someone/seeds")
    assert done.returncode == 0, done.stderr
    assert "/datasets/someone/seeds/commit/" in done.stdout
    (commit,) = hub.commits
    sent = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"])
        for line in commit
        if line["key"] == "file"
    }
    manifest = wm_data.read(folder).manifest
    assert set(sent) == {ref.path for ref in manifest.files} | {"manifest.json"}
    for ref in manifest.files:
        assert hashlib.sha256(sent[ref.path]).hexdigest() == ref.sha256
    assert hub.created[0]["visibility"] == "private"


def test_a_dry_run_lists_and_uploads_nothing(hub, folder):
    done = hub.run("push", str(folder), "someone/seeds", "--dry-run")
    assert done.returncode == 0
    assert "manifest.json" in done.stdout.split()
    assert "notes.txt" not in done.stdout
    assert not hub.created
    assert not hub.commits


@pytest.mark.parametrize(
    ("repo", "damage", "message"),
    [
        ("nobody/else", False, "nobody/else: the upload failed"),
        ("not a name", False, "expected OWNER/NAME"),
        ("someone/seeds", True, "changed after the build"),
    ],
)
def test_what_cannot_be_uploaded_is_one_line(hub, folder, repo, damage, message):
    if damage:
        (folder / "README.md").write_text("other")
    done = hub.run("push", str(folder), repo)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not hub.commits
