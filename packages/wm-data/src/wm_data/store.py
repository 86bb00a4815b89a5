"""Makes a folder appear whole or not at all, and lists its files. Knows nothing of datasets."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from wm_data.errors import WmDataError
from wm_manifest import FileRef


@contextmanager
def staged(out: Path, overwrite: bool = False) -> Generator[Path]:
    """A hidden folder beside `out`, renamed to it when the block ends well and removed otherwise.

    What a killed process left there is removed by the next one.
    """
    if out.exists() and not overwrite and (not out.is_dir() or any(out.iterdir())):
        raise WmDataError(f"{out}: exists already; choose another folder or pass --overwrite")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        staging = out.parent / f".{out.name}.{os.getpid()}.partial"
        staging.mkdir()
    except OSError as error:
        raise WmDataError(f"{out}: cannot be written ({error.strerror or error})") from error
    try:
        yield staging
        _rename(staging, out)
    except OSError as error:
        raise WmDataError(
            f"{out}: writing failed ({error.strerror or error}); nothing was left behind, "
            "free some space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def file_refs(folder: Path, names: list[str]) -> list[FileRef]:
    """Size and hash of files of a folder, in the order given."""
    return [
        FileRef(path=name, bytes=(folder / name).stat().st_size, sha256=sha256_of(folder / name))
        for name in names
    ]


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rename(staging: Path, out: Path) -> None:
    if out.exists():
        # A folder with files in it cannot be renamed over; the old one goes only now.
        old = out.parent / f".{out.name}.{os.getpid()}.old.partial"
        out.rename(old)
        staging.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    else:
        staging.rename(out)


def _sweep(out: Path) -> None:
    """Remove staging folders whose process is gone."""
    for path in out.parent.glob(f".{out.name}.*.partial"):
        found = re.fullmatch(rf"\.{re.escape(out.name)}\.(\d+)(\.old)?\.partial", path.name)
        if found and not _alive(int(found[1])):
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()
