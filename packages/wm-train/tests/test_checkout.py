"""The patch of a run gives back the code that ran, whatever git was told by its user."""

import subprocess
from pathlib import Path

import pytest

from wm_train import checkout

TOKEN = "hf_" + "Ab1" * 11
NEW = "packages/new/module.py"


def git(repo: Path, *args: str) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *args]
    return subprocess.run(command, cwd=repo, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in which checkout.py stands, without a change."""
    repo = tmp_path / "repo"
    (repo / "packages").mkdir(parents=True)
    git(repo, "init", "-q")
    (repo / "packages/checkout.py").write_text("a = 1\n")
    (repo / "packages/picture.bin").write_bytes(b"\0\1")
    (repo / ".gitignore").write_text("runs/\n*.log\n")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "x")
    monkeypatch.setattr(checkout, "__file__", str(repo / "packages/checkout.py"))
    return repo


def run_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def patch_of(run: Path) -> str:
    state = checkout.state(run)
    assert state.dirty
    assert state.diff_path == "code.patch"
    return (run / "code.patch").read_text()


@pytest.mark.parametrize("place", ["runs/a", "out/a", "a", "../a"])
def test_what_is_committed_needs_no_patch(repo: Path, place: str) -> None:
    run = run_in(repo / place)
    (run / "manifest.json").write_text("{}")
    state = checkout.state(run)
    assert (state.commit, state.dirty) == (git(repo, "rev-parse", "HEAD").strip(), False)
    assert state.diff_sha256 is None


SETTINGS = {
    "none": [],
    "external": ["diff.external", "echo"],
    "colour": ["color.ui", "always"],
    "no prefix": ["diff.noprefix", "true"],
    "mnemonic prefix": ["diff.mnemonicPrefix", "true"],
    "relative": ["diff.relative", "true"],
    "context": ["diff.context", "0"],
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_patch_applies_whatever_git_was_told(repo: Path, tmp_path: Path, setting: str) -> None:
    if SETTINGS[setting]:
        git(repo, "config", *SETTINGS[setting])
    (repo / "packages/checkout.py").write_text("a = 2\n")
    (repo / "packages/picture.bin").write_bytes(b"\0\2")
    (repo / NEW).parent.mkdir()
    (repo / NEW).write_text("b = 3\n")
    (repo / "packages/notes.docx").write_text("x")
    text = patch_of(run_in(tmp_path / "run"))
    assert "# not in git, and not here: 'packages/notes.docx'\n" in text
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repo), str(clone))
    git(clone, "apply", str(tmp_path / "run/code.patch"))
    for name in ("packages/checkout.py", "packages/picture.bin", NEW):
        assert (clone / name).read_bytes() == (repo / name).read_bytes()


def test_a_textconv_does_not_get_into_it(repo: Path, tmp_path: Path) -> None:
    (repo / ".git/info/attributes").write_text("*.py diff=shout\n")
    git(repo, "config", "diff.shout.textconv", "tr a-z A-Z <")
    (repo / "packages/checkout.py").write_text("a = 2\n")
    assert "+a = 2\n" in patch_of(run_in(tmp_path / "run"))


# a file that git does not know -> whether the patch has it whole
UNKNOWN = {
    "packages/a.py": (b"x = 1\n", True),
    "prompts/a.jinja": (b"Hello\n", True),
    "packages/a.bin": (b"x", False),
    "packages/.env": (b"x", False),
    "packages/large.json": (b"1" * (checkout.MOST + 1), False),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_file_is_there_whole_or_by_name(repo: Path, tmp_path: Path, name: str) -> None:
    content, whole = UNKNOWN[name]
    (repo / name).parent.mkdir(exist_ok=True)
    (repo / name).write_bytes(content)
    text = patch_of(run_in(tmp_path / "run"))
    assert text.startswith("diff --git" if whole else f"# not in git, and not here: {name!r}")


def test_what_lies_elsewhere_is_no_code(repo: Path, tmp_path: Path) -> None:
    """The documented commands write datasets and evaluations there."""
    for name in ("data/demo/manifest.json", "null.json", "mine.py"):
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text("x")
    state = checkout.state(run_in(tmp_path / "run"))
    assert (state.dirty, state.diff_sha256) == (False, None)


def test_the_patch_has_no_secret(repo: Path, tmp_path: Path) -> None:
    (repo / "packages/checkout.py").write_text(f'a = "{TOKEN}"\n')
    (repo / "packages/a.py").write_text(f'b = "{TOKEN}"\n')
    text = patch_of(run_in(tmp_path / "run"))
    assert TOKEN not in text
    assert text.count("<redacted>") == 2


def test_outside_of_a_checkout_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkout, "__file__", str(tmp_path / "checkout.py"))
    assert checkout.state(run_in(tmp_path / "run")).commit is None


REMOTES = {
    "https": ("https://github.com/owner/wm.git", "https://github.com/owner/wm"),
    "with a login": ("https://me:secret@github.com/owner/wm", "https://github.com/owner/wm"),
    "ssh": ("git@github.com:owner/wm.git", "https://github.com/owner/wm"),
    "ssh with a port": ("ssh://git@gitlab.com:22/a/b/wm/", "https://gitlab.com/a/b/wm"),
    "a host of one's own": ("https://git.example.org/owner/wm", None),
    "a name that ends like one": ("https://notgithub.com/owner/wm", None),
    "a host before one": ("https://example.org/github.com/owner/wm", None),
    "a folder": ("/home/me/github.com/owner/wm", None),
}


@pytest.mark.parametrize("name", REMOTES)
def test_a_repository_is_named_where_the_commit_can_be_had(repo: Path, name: str) -> None:
    remote, public = REMOTES[name]
    git(repo, "remote", "add", "origin", remote)
    assert checkout.state(run_in(repo / "runs/a")).repository is None  # not pushed, as far as known
    git(repo, "update-ref", "refs/remotes/origin/main", "HEAD")
    assert checkout.state(run_in(repo / "runs/b")).repository == public
