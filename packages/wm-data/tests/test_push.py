"""One commit or none, whatever the network does: the real client against a hub on localhost."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from contextlib import suppress

import pytest

import wm_data
from wm_data import cli
from wm_data.push import push

REPO = "me/rows"
# The hub's client hands its HTTP library the file in a way that the library calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def recipe(records, tmp_path_factory):
    """A recipe over the 300 records."""
    place = tmp_path_factory.mktemp("recipe")
    lines = [json.dumps(record) + "\n" for record in records]
    (place / "seeds.jsonl").write_text("".join(lines))
    sources = [{"id": "a", "file": str(place / "seeds.jsonl")}]
    content = {"name": "small", "sources": sources, "shares": {"test": 0.2}}
    (place / "recipe.yaml").write_text(json.dumps(content))  # JSON is YAML
    return place / "recipe.yaml"


@pytest.fixture(scope="module")
def folder(recipe, tmp_path_factory):
    built = build_as(recipe, tmp_path_factory.mktemp("built") / "small")
    (built / "notes.txt").write_text("not in the manifest")
    return built


@pytest.fixture(scope="module")
def other(recipe, tmp_path_factory):
    """Another dataset: another seed, and no texts cut to lengths."""
    out = tmp_path_factory.mktemp("built") / "other"
    return build_as(recipe, out, name="other", bands={"counted": []}, seed=1)


def build_as(recipe, out, seed=0, **changes):
    """Build the recipe's dataset with some of the recipe's fields changed."""
    changed = out.with_suffix(".yaml")
    changed.write_text(json.dumps(json.loads(recipe.read_text()) | changes))
    wm_data.build(str(changed), out, seed=seed, progress=False)
    return out


@pytest.fixture
def upload(hub):
    """Push to the test hub, with our own waits recorded beside the client's."""
    return lambda folder, **options: push(folder, REPO, sleep=hub.waits.append, **options)


def commits(hub):
    return [commit.title for commit in hub.repos[f"datasets/{REPO}"].commits[1:]]


def published(hub):
    if f"datasets/{REPO}" not in hub.repos:
        return {}
    return {p: c for p, c in hub.files(REPO, "datasets").items() if p != ".gitattributes"}


def listed(folder):
    """What the folder's manifest lists, and the manifest: the whole content of an upload."""
    names = [*(ref.path for ref in wm_data.read(folder).manifest.files), "manifest.json"]
    files = {name: (folder / name).read_bytes() for name in names}
    # The one thing that goes up otherwise: without the folder of the seeds on this machine.
    shown = re.sub(
        rb'"file": "[^"]*/seeds.jsonl"', b'"file": "seeds.jsonl"', files["manifest.json"]
    )
    return files | {"manifest.json": shown}


def test_no_folder_of_this_machine_goes_up(hub, upload, folder, recipe):
    upload(folder)
    assert not [
        name for name, found in published(hub).items() if str(recipe.parent).encode() in found
    ]
    assert str(recipe.parent).encode() in (folder / "manifest.json").read_bytes()


def test_the_command_makes_one_private_commit_with_the_files_of_the_manifest(hub, folder):
    done = hub.run("push", str(folder), REPO)
    assert done.returncode == 0, done.stderr
    repo = hub.repos[f"datasets/{REPO}"]
    assert done.stdout.strip() == f"{hub.endpoint}/datasets/{REPO}/tree/{repo.commits[-1].oid}"
    assert commits(hub) == ["Upload small, seed 0"]
    assert repo.private
    assert published(hub) == listed(folder)
    assert "notes.txt" not in published(hub)
    for ref in wm_data.read(folder).manifest.files:
        assert hashlib.sha256(published(hub)[ref.path]).hexdigest() == ref.sha256


def test_public_makes_a_new_repository_public(hub, here, folder):
    assert here("push", str(folder), REPO, "--public").returncode == 0
    assert not hub.repos[f"datasets/{REPO}"].private


def test_a_public_repository_is_published_to_where_that_was_said(hub, upload, folder):
    hub.create(REPO, private=False, kind="datasets")
    with pytest.raises(wm_data.WmDataError, match="me/rows is public: pass --public"):
        upload(folder)
    assert published(hub) == {}
    upload(folder, private=False)
    assert published(hub) == listed(folder)


def test_a_text_with_a_key_is_named_and_nothing_goes_up(hub, here, records, tmp_path):
    """People paste them into conversations, and what is up once is out."""
    key = "hf_" + "Ab1" * 10
    odd = {**records[0], "prompt": f"Why does {key} not work?"}
    dropped = {**records[1], "prompt": f"And {key}?", "red_answer": "No."}
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in [*records[2:40], odd, dropped])
    )
    content = {"name": "x", "sources": [{"id": "a", "file": str(tmp_path / "rows.jsonl")}],
               "shares": {"test": 0.3}, "near_duplicates": None}  # fmt: skip
    (tmp_path / "r.yaml").write_text(json.dumps(content))
    wm_data.build(str(tmp_path / "r.yaml"), tmp_path / "built", progress=False)
    done = here("push", str(tmp_path / "built"), REPO)
    assert done.returncode == 2
    assert re.search(
        r"seeds/(train|test)\.parquet, row \d+, prompt: a Hugging Face token", done.stderr
    )
    assert "dropped.jsonl, line 1: a Hugging Face token" in done.stderr
    assert key not in done.stderr
    assert hub.requests == []
    assert here("push", str(tmp_path / "built"), REPO, "--with-keys").returncode == 0


@pytest.mark.parametrize("where", ["prompt", "subject"])
def test_a_dry_run_looks_for_keys_and_at_the_name(records, tmp_path, capsys, where):
    """Whoever asks what would go up is told that it would not."""
    key = "hf_" + "Ab1" * 10
    rows = [{**record, "subject": f"s{n}"} for n, record in enumerate(records[:40])]
    rows[0] |= {where: f"Of {key}"}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"id": "a", "file": str(tmp_path / "rows.jsonl"), "columns": {"subject": "subject"}}
    content = {"name": "x", "sources": [source], "shares": {"test": 0.3}, "near_duplicates": None}
    (tmp_path / "r.yaml").write_text(json.dumps(content))
    wm_data.build(str(tmp_path / "r.yaml"), tmp_path / "built", progress=False)
    assert cli.main(["push", str(tmp_path / "built"), REPO, "--dry-run"]) == 2
    said = capsys.readouterr()
    assert f", {where}: a Hugging Face token" in said.err
    assert key not in said.err
    assert cli.main(["push", str(tmp_path / "built"), REPO, "--dry-run", "--with-keys"]) == 0
    assert cli.main(["push", str(tmp_path / "built"), "no name", "--dry-run"]) == 2
    assert "no name: no name for a repository; expected OWNER/NAME" in capsys.readouterr().err


def test_a_dry_run_lists_and_uploads_nothing(hub, here, folder):
    done = here("push", str(folder), REPO, "--dry-run")
    assert done.returncode == 0
    assert "manifest.json" in done.stdout.split()
    assert "notes.txt" not in done.stdout
    assert hub.requests == []


def test_nothing_changed_makes_no_commit(hub, upload, folder):
    first = upload(folder)
    hub.requests.clear()
    assert upload(folder) == first
    assert len(commits(hub)) == 1
    assert not [request for request in hub.requests if request.startswith("PUT ")]


def test_another_dataset_takes_the_place_of_the_one_that_was_there(hub, upload, folder, other):
    upload(folder)
    gone = set(listed(folder)) - set(listed(other))
    assert gone
    hub.repos[f"datasets/{REPO}"].give({"NOTES.md": b"mine", "data/mine.csv": b"a,b"})
    reference = upload(other)
    assert published(hub) == listed(other) | {"NOTES.md": b"mine", "data/mine.csv": b"a,b"}
    assert reference.commit == hub.repos[f"datasets/{REPO}"].commits[-1].oid
    assert commits(hub) == ["Upload small, seed 0", "Give files", "Upload other, seed 1"]


def test_only_files_that_differ_go_up(hub, upload, folder, recipe, tmp_path):
    upload(folder)
    renamed = build_as(recipe, tmp_path / "renamed", name="renamed")
    hub.requests.clear()
    upload(renamed)
    assert published(hub) == listed(renamed)
    assert not [r for r in hub.requests if r.startswith("PUT /lfs/")], "the parquet was there"


def test_what_somebody_else_has_there_is_not_written_over_unless_asked(hub, upload, folder):
    files = {"manifest.json": b'{"files": [{"path": "x.txt"}]}', "x.txt": b"theirs"}
    hub.create(REPO, kind="datasets").give(files)
    with pytest.raises(wm_data.WmDataError, match=r"me/rows holds manifest.json and no dataset of"):
        upload(folder)
    assert published(hub) == files
    upload(folder, force=True)
    assert published(hub) == listed(folder) | {"x.txt": b"theirs"}


def test_a_rival_commit_is_kept_and_ours_comes_after_it(hub, upload, folder, other):
    upload(folder)
    hub.faults.append(hub.Fault("POST .*/commit/", "rival"))
    hub.requests.clear()
    upload(other)
    # The first attempt named a parent that was no longer the newest, and changed nothing.
    assert hub.requests.count(f"POST /api/datasets/{REPO}/commit/main") == 2
    assert commits(hub) == ["Upload small, seed 0", "Add a note", "Upload other, seed 1"]
    assert published(hub) == listed(other) | {"NOTES.md": b"someone was here\n"}


REQUESTS = [
    r"GET /api/datasets/me/rows$",
    r"POST /api/repos/create",
    r"GET /api/datasets/me/rows/tree",
    r"POST .*/preupload/",
    r"POST .*/objects/batch",
    r"PUT /lfs/",
    r"POST .*/commit/",
    r"(HEAD|GET) .*/resolve/",
]
FAULTS = {
    "429": {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
    "500": {"kind": "status", "status": 500},
    "cut": {"kind": "cut"},
    "lost": {"kind": "lost"},
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
def test_a_lasting_fault_leaves_old_or_new_and_a_rerun_completes(
    hub, upload, folder, other, where, kind
):
    upload(folder)
    if "create" in where:  # only a repository that is not there is created
        hub.repos.clear()
    old = published(hub)
    # As often as it takes for every attempt of ours and of the client's to fail.
    fault = hub.Fault(where, times=1_000, **FAULTS[kind])
    hub.faults.append(fault)
    with suppress(wm_data.WmDataError):
        upload(other)
    assert fault.times < 1_000
    assert published(hub) in (old, listed(other))
    hub.faults.clear()
    upload(other)
    assert published(hub) == listed(other)
    assert len(commits(hub)) == (1 if "create" in where else 2)


def test_a_hub_that_stays_busy_is_one_line_that_says_what_to_do(hub, upload, folder):
    hub.faults.append(hub.Fault("POST .*/commit/", "status", status=503, times=1_000))
    with pytest.raises(wm_data.WmDataError) as caught:
        upload(folder)
    said = str(caught.value)
    assert said.startswith("me/rows: not uploaded (HfHubHTTPError: ")
    assert "503" in said
    assert said.endswith("); give the same command again later")
    assert "\n" not in said
    assert len(hub.waits) == 5
    assert published(hub) == {}


def test_without_a_token_nothing_is_asked(hub, upload, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(wm_data.WmDataError, match=r"me/rows: .+no Hugging Face token; log in"):
        upload(folder)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("repo", "damage", "refused", "message"),
    [
        (REPO, False, 403, "me/rows: the hub refused with status 403: fault of the test; check"),
        ("not a name", False, None, "not a name: no name for a repository; expected OWNER/NAME"),
        ("rows", False, None, "rows: no name for a repository; expected OWNER/NAME"),
        (REPO, True, None, "changed after the build"),
    ],
)
def test_what_cannot_be_uploaded_is_one_line(
    hub, here, folder, tmp_path, repo, damage, refused, message
):
    if damage:
        folder = shutil.copytree(folder, tmp_path / "damaged")
        (folder / "README.md").write_text("other")
    if refused:
        hub.faults.append(hub.Fault("POST /api/repos/create", "status", status=refused))
    done = here("push", str(folder), repo)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert f"datasets/{REPO}" not in hub.repos
