"""The code that a run ran on: its commit, and a patch of what was not committed. Commits nothing.

The patch is git's own whatever its user has set, `git apply` takes it, and it has the files below
`packages/` and `prompts/` that git does not know yet: those that may be code whole, others by name.
What lies elsewhere, as data and evaluations do, is not what runs.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from wm_manifest import GitState
from wm_train.provenance import sha256
from wm_train.redact import redact

PATCH = "code.patch"
OURS = ("packages/", "prompts/")  # below the repository: where what runs is
KINDS = (".jinja", ".json", ".md", ".py", ".toml", ".txt", ".yaml", ".yml")
MOST = 2**20  # bytes of files that git does not know, in all
_DIFF = (
    *("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--binary"),
    *("--unified=3", "--src-prefix=a/", "--dst-prefix=b/"),
)


HOSTS = ("github.com", "gitlab.com", "codeberg.org", "bitbucket.org", "huggingface.co")
_REMOTE = re.compile(
    r"(?:(?:https|ssh|git)://)?(?:[^@/\s]+@)?(?i:(?P<host>"
    + "|".join(map(re.escape, HOSTS))
    + r"))"
    r"(?::\d+/|[:/])(?P<path>[\w.\-]+(?:/[\w.\-]+)+)"
)


def state(run_dir: Path, patch: str = PATCH) -> GitState:
    """The commit this code stands at; what is not committed is kept as `patch` in the run."""
    home = Path(__file__).parent
    # Installed into somebody's own checkout, this file stands in a repository that is not ours.
    ours = _git(home, "ls-files", "--error-unmatch", Path(__file__).name)
    root, commit = (_git(home, "rev-parse", what) for what in ("--show-toplevel", "HEAD"))
    if not ours or root is None or commit is None:
        return GitState(commit=None, dirty=False)
    top = Path(root.rstrip("\n"))
    tracked = _git(top, *_DIFF, "HEAD")
    # A plain word that is a password somewhere is also one in code.
    text = redact("".join(_unknown(top)) + (tracked or ""), words=False)
    at = GitState(commit=commit.strip(), dirty=tracked is None, repository=_repository(top))
    if not text:
        return at
    path = run_dir / patch
    path.write_text(text, "utf-8")
    kept = {"dirty": True, "diff_sha256": sha256(path), "diff_path": path.name}
    return at.model_copy(update=kept)


def _repository(top: Path) -> str | None:
    """Where the commit was pushed to, as far as is known here."""
    pushed = _git(top, "branch", "--remotes", "--contains", "HEAD", "--list", "origin/*")
    return public_url(_git(top, "remote", "get-url", "origin")) if pushed else None


def public_url(remote: str | None) -> str | None:
    """A remote on one of the hosts that everybody can reach, without login; else None.

    A folder, or a host of one's own, is nobody's business and of no use to others.

    >>> public_url("git@github.com:owner/wm.git")
    'https://github.com/owner/wm'
    """
    found = _REMOTE.fullmatch((remote or "").strip().removesuffix("/").removesuffix(".git"))
    return f"https://{found['host'].lower()}/{found['path']}" if found else None


def _unknown(top: Path) -> Iterator[str]:
    """Files that git does not know and was not told to ignore, as the patch has them."""
    left = MOST
    listed = _git(top, "ls-files", "--others", "--exclude-standard", "-z", "--", *OURS) or ""
    for name in sorted(filter(None, listed.split("\0"))):
        path, made = top / name, None
        code = path.suffix in KINDS and not path.is_symlink()
        size = path.stat().st_size if code and path.is_file() else MOST + 1
        if size <= left:
            made = _git(top, *_DIFF, "--no-index", "--", "/dev/null", name, differs=1)
            left -= size
        yield made or f"# not in git, and not here: {name!r}\n"


def _git(folder: Path, *args: str, differs: int = 0) -> str | None:
    """What git prints; None without git, or where it fails. Exit code `differs` is no failure."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *args],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode in (0, differs) else None
