"""One commit or none, whatever the network does: against a hub on localhost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, snapshot_download

from wm_manifest import EvalReport, ModelRef, ReleaseManifest, RunManifest, load, save
from wm_publish import PublishError, plan, prepare, publish, render_card, stage
from wm_publish import run as publishing
from wm_publish.folders import swap_in

REPO = "me/wm"
# The hub's client hands its HTTP library the file in a way that the library calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def push(hub):
    """Publish to the test hub, with our own waits recorded beside the client's."""

    def go(run, **options):
        options = {"repo_id": REPO, "endpoint": hub.endpoint, "sleep": hub.waits.append} | options
        return publish(run, **options)

    return go


def commits(hub):
    return [c.title for c in hub.repos[f"models/{REPO}"].commits[1:]]


def published(hub):
    return {p: c for p, c in hub.files(REPO).items() if p != ".gitattributes"}


def test_one_private_commit_holds_exactly_the_planned_files(hub, push, make_run):
    run = make_run()
    release = push(run).release
    assert commits(hub) == ["Publish 9 files with wm-publish"]
    assert hub.repos[f"models/{REPO}"].private
    assert sorted(published(hub)) == [ref.path for ref in plan(run, REPO).files]
    assert published(hub)["model.safetensors"] == (run / "model/model.safetensors").read_bytes()
    assert release.hub.commit == hub.repos[f"models/{REPO}"].commits[-1].oid
    card = published(hub)["README.md"].decode()
    assert card == render_card(load(RunManifest, run / "manifest.json"))
    assert ModelCard(card).data.license == "unknown"


def test_commit_is_written_back_into_the_run(hub, push, make_run):
    run = make_run()
    release = push(run).release
    assert load(RunManifest, run / "manifest.json").hub == release.hub
    assert load(ReleaseManifest, run / "release.json") == release


def test_nothing_changed_makes_no_commit(hub, push, make_run):
    run = make_run()
    first = push(run).release
    manifest = (run / "manifest.json").read_bytes()
    again = push(run)
    assert (again.release, again.reason) == (first, "nothing had changed, so no commit was made")
    assert push(run, repo_id=None).release == first
    assert len(commits(hub)) == 1
    assert (run / "manifest.json").read_bytes() == manifest


def test_only_what_changed_goes_up(hub, push, make_run):
    run = make_run()
    push(run)
    (run / "plots/detect.png").write_bytes(b"\x89PNG another")
    hub.requests.clear()
    push(run)
    assert len(commits(hub)) == 2
    assert sum(request.startswith("PUT /lfs/") for request in hub.requests) == 1


def test_stale_files_of_an_earlier_release_go_and_foreign_ones_stay(hub, push, make_run):
    push(make_run("full"))
    repo = hub.repos[f"models/{REPO}"]
    repo.commit("Add notes", repo.commits[-1].files | {"NOTES.md": hub.Blob(b"mine", lfs=False)})
    base = ModelRef(location="a/b", revision="c" * 40)
    push(make_run("lora", output="adapter", base=base, plots=["plots/detect.png"]))
    files = published(hub)
    assert "adapter_model.safetensors" in files
    assert {"model.safetensors", "config.json", "plots/watermark.png"}.isdisjoint(files)
    assert files["NOTES.md"] == b"mine"


def test_without_a_name_it_goes_to_the_users_repository_of_the_runs_name(hub, push, make_run):
    release = push(make_run(), repo_id=None).release
    assert release.repo_id == "me/demo-gentle-otter-2026-01-31"
    assert "models/me/demo-gentle-otter-2026-01-31" in hub.repos


def test_private_run_does_not_land_in_a_public_repository(hub, push, make_run):
    hub.create(REPO, private=False)
    with pytest.raises(PublishError, match="is public: pass --public"):
        push(make_run())
    assert commits(hub) == []
    push(make_run("again"), private=False)
    assert len(commits(hub)) == 1


def test_repository_of_something_else_is_left_alone_without_force(hub, push, make_run):
    repo = hub.create(REPO)
    repo.commit("Other model", {"model.safetensors": hub.Blob(b"theirs", lfs=True)})
    with pytest.raises(PublishError, match="was not published by wm-publish"):
        push(make_run())
    assert published(hub) == {"model.safetensors": b"theirs"}
    push(make_run("forced"), force=True)
    assert "wm_manifest.json" in published(hub)


def test_an_evaluation_of_fewer_figures_never_replaces_one_of_more_without_force(
    hub, push, make_run
):
    push(make_run("large", n=480))
    run = make_run("part", n=960)
    path = run / "eval/step-000300/eval.json"
    report = load(EvalReport, path)
    figures = {name: one for name, one in report.figures.items() if "red" in name}
    save(report.model_copy(update={"figures": figures}), path)
    with pytest.raises(PublishError, match="with n = 480, this run n = 0; evaluate on as many"):
        push(run)
    assert push(run, force=True).release.hub is not None


def test_smaller_evaluation_never_replaces_a_larger_one_without_force(hub, push, make_run):
    push(make_run("large", n=480))
    with pytest.raises(PublishError, match=r"n = 480, this run n = 20; evaluate on as many"):
        push(make_run("small", n=20))
    assert len(commits(hub)) == 1
    push(make_run("larger", n=960))
    push(make_run("forced", n=20), force=True)
    report = EvalReport.model_validate_json(published(hub)["eval.json"])
    assert report.figures["detect/accuracy"].n == 20


def test_refused_token_is_an_error_and_not_a_retry(hub, push, make_run):
    with pytest.raises(PublishError, match="status 401"):
        push(make_run(), token="another-token")
    assert hub.waits == []


@pytest.mark.parametrize("repo_id", ["no spaces allowed/x", "a/b/c", "../x", "no-user", ""])
def test_name_that_is_no_repository_is_refused_before_any_request(hub, push, make_run, repo_id):
    with pytest.raises(PublishError, match="no repository name"):
        push(make_run(), repo_id=repo_id)
    assert hub.requests == []


def test_secret_stops_it_before_anything_is_created(hub, push, make_run):
    with pytest.raises(PublishError, match="Hugging Face token"):
        push(make_run(command=["wm-train", "hf_" + "aB3" * 11 + "x"]))
    assert hub.repos == {}


def test_rival_commit_is_kept_and_ours_comes_after_it(hub, push, make_run):
    push(make_run("old"))
    hub.faults.append(hub.Fault("POST .*/commit/", "rival"))
    hub.requests.clear()
    push(make_run("new", steps=900))
    # The first attempt named a parent that was no longer the newest, and changed nothing.
    assert hub.requests.count("POST /api/models/me/wm/commit/main") == 2
    ours = "Publish 9 files with wm-publish"
    assert commits(hub) == [ours, "Add a note", ours]
    assert published(hub)["NOTES.md"] == b"someone was here\n"


def test_without_token_the_complete_folder_is_laid_ready(hub, make_run, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    run = make_run()
    outcome = publish(run, REPO, endpoint=hub.endpoint)
    assert outcome.release.hub is None
    assert "no Hugging Face token" in outcome.reason
    assert outcome.staged == run / "publish"
    laid = {
        p.relative_to(outcome.staged).as_posix(): p.stat().st_size
        for p in outcome.staged.rglob("*")
        if p.is_file()
    }
    assert laid == {ref.path: ref.bytes for ref in outcome.release.files}
    assert hub.requests == []
    assert load(RunManifest, run / "manifest.json").hub is None


@pytest.mark.parametrize("kind", ["folder", "file", "link to a folder", "link to nowhere"])
def test_what_was_laid_ready_before_is_replaced_whole(make_run, tmp_path, kind):
    run, elsewhere = make_run(), tmp_path / "elsewhere"
    staged = run / "publish"
    if kind == "folder":
        (staged / "old").mkdir(parents=True)
    elif kind == "file":
        staged.write_text("old")
    else:
        if kind == "link to a folder":
            (elsewhere / "kept").mkdir(parents=True)
        staged.symlink_to(elsewhere)
    outcome = stage(run, None, True, "no hub here")
    assert not staged.is_symlink()
    laid = {p.relative_to(staged).as_posix() for p in staged.rglob("*") if p.is_file()}
    assert laid == {ref.path for ref in outcome.release.files}
    assert not (staged / "old").exists()
    assert (elsewhere / "kept").exists() == (kind == "link to a folder")
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_a_folder_that_is_swapped_in_is_whole_or_absent_at_every_step(tmp_path):
    """Looks between any two steps, as another process or a kill there would."""
    building, folder = tmp_path / "building", tmp_path / "folder"
    for place, text in ((building, "new"), (folder, "old")):
        place.mkdir()
        for n in range(3):
            (place / str(n)).write_text(text)
    seen: set[tuple[str, ...]] = set()

    def look(event: str, _arguments: object) -> None:
        if event in ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree") and watching:
            seen.add(tuple(path.read_text() for path in folder.glob("*")))

    watching = [True]
    sys.addaudithook(look)
    swap_in(building, folder)
    watching.clear()
    assert seen <= {("old",) * 3, ("new",) * 3, ()}
    assert ("old",) * 3 in seen
    assert [path.read_text() for path in sorted(folder.iterdir())] == ["new"] * 3
    assert list(tmp_path.iterdir()) == [folder]


def test_what_a_killed_process_left_goes_and_what_a_living_one_builds_stays(make_run, tmp_path):
    """A merged model that was half written takes as much room as a whole one."""
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    dead, parent = int(gone.stdout), os.getppid()
    run = make_run()
    for pid in (dead, os.getpid(), parent):
        (run / f".publish.{pid}.tmp").mkdir()
        (run / f".publish.{pid}.tmp" / "stale.safetensors").write_bytes(b"x")
    stage(run, REPO, private=True, reason="a test")
    assert [path.name for path in run.glob(".*.tmp")] == [f".publish.{parent}.tmp"]
    assert not (run / "publish/stale.safetensors").exists()


def test_a_card_is_whole_or_the_old_one(make_run, monkeypatch):
    run = make_run()
    (run / "README.md").write_text("old")

    def half(path, content):
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(PublishError, match="No space left"):
        prepare(run)
    assert (run / "README.md").read_text() == "old"
    assert not list(run.glob(".*.tmp"))


def test_what_a_run_wrote_during_the_upload_is_kept(hub, push, make_run, monkeypatch):
    run = make_run()
    sent = publishing._push

    def slow(*arguments):
        reference = sent(*arguments)
        newer = load(RunManifest, run / "manifest.json").model_copy(update={"steps": 12_345})
        save(newer, run / "manifest.json")
        return reference

    monkeypatch.setattr(publishing, "_push", slow)
    release = push(run).release
    written = load(RunManifest, run / "manifest.json")
    assert (written.steps, written.hub) == (12_345, release.hub)


def test_hub_out_of_reach_lays_the_folder_ready_and_a_later_run_uploads_it(hub, push, make_run):
    run = make_run()
    outcome = push(run, endpoint="http://127.0.0.1:9")
    assert outcome.staged is not None
    assert (run / "publish/README.md").is_file()
    assert push(run).release.hub is not None
    laid = {
        p.relative_to(run / "publish").as_posix()
        for p in (run / "publish").rglob("*")
        if p.is_file()
    }
    assert laid == set(published(hub))


def test_a_hub_whose_xet_fails_is_told_and_the_way_around_it_works(
    hub, push, make_run, monkeypatch
):
    pytest.importorskip("hf_xet")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    run = make_run()
    outcome = push(run)  # the test hub has no Xet: 404
    assert "HF_HUB_DISABLE_XET=1" in outcome.reason
    assert (outcome.staged / "model.safetensors").is_file()
    assert (commits(hub), hub.waits) == ([], [])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    assert push(run).release.hub is not None
    assert len(commits(hub)) == 1


def test_what_was_published_downloads_again(hub, push, make_run, tmp_path):
    run = make_run()
    release = push(run).release
    folder = Path(
        snapshot_download(
            REPO, revision=release.hub.commit, endpoint=hub.endpoint, local_dir=tmp_path / "copy"
        )
    )
    assert (folder / "model.safetensors").read_bytes() == (
        run / "model/model.safetensors"
    ).read_bytes()
    assert json.loads((folder / "wm_manifest.json").read_text())["hub"] is None


REQUESTS = [
    r"GET /api/models/me/wm$",
    r"POST /api/repos/create",
    r"GET /api/models/me/wm/tree",
    r"POST /api/validate-yaml",
    r"POST .*/preupload/",
    r"POST .*/objects/batch",
    r"PUT /lfs/",
    r"POST /lfs/verify",
    r"POST .*/commit/",
    r"(HEAD|GET) .*/resolve/",
]
FAULTS = {
    "429": {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
    "500": {"kind": "status", "status": 500},
    "cut": {"kind": "cut"},
    "lost": {"kind": "lost"},
    "slow": {"kind": "slow"},
}


QUICK = {(r"POST .*/commit/", "cut"), (r"POST .*/commit/", "lost"), (r"PUT /lfs/", "cut")}


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        pytest.param(where, kind, marks=() if (where, kind) in QUICK else pytest.mark.slow)
        for where in REQUESTS
        for kind in FAULTS
    ],
)
def test_fifty_faults_leave_old_or_new_and_a_rerun_completes(hub, push, make_run, where, kind):
    push(make_run("old", steps=100))
    old, run = published(hub), make_run("new", n=960, steps=300)
    (run / "plots/detect.png").write_bytes(b"\x89PNG newer")
    if "create" in where:  # only a repository that is not there is created
        hub.repos.clear()
        old = {}
    # As often as it takes for every attempt of ours and of the client's to fail.
    fault = hub.Fault(where, times=1_000, **FAULTS[kind])
    hub.faults.append(fault)
    outcome = push(run)
    expected = {ref.path for ref in plan(run, REPO).files}
    now = published(hub) if f"models/{REPO}" in hub.repos else {}
    assert fault.times < 1_000
    if now != old:
        assert set(now) == expected
        assert json.loads(now["wm_manifest.json"])["steps"] == 300
    assert (outcome.staged is None) == (outcome.release.hub is not None)
    hub.faults.clear()
    assert push(run).release.hub is not None
    assert json.loads(published(hub)["wm_manifest.json"])["steps"] == 300
    assert len(commits(hub)) == (1 if "create" in where else 2)
