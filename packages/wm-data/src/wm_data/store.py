"""Makes a folder appear whole or not at all, and lists its files. Knows nothing of datasets."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from wm_data.errors import WmDataError
from wm_data.rows import has_surrogate
from wm_manifest import FileRef

# What only writing can run into, whatever file the error names.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


Ours = Callable[[Path], bool]  # whether a folder is of the kind that may be replaced


@contextmanager
def staged(out: Path, overwrite: Ours | None = None) -> Generator[Path]:
    """A hidden folder beside `out`, renamed to it when the block ends well and removed otherwise.

    A folder with files in it is replaced only where `overwrite` says that it is one of ours; it is
    asked before the block and after it. Where `out` is a link, what it points to is replaced. What
    a killed process left there is put right by the next one. An `OSError` of the block itself (a
    source that is gone, a network) passes through unless it is about writing to the folder.
    """
    if has_surrogate(str(out)):
        raise WmDataError(f"{out}: is not UTF-8; choose another name")
    try:
        place = out.resolve()
        if place.is_symlink():  # links in a circle, from Python 3.13 on
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        _sweep(place)
        _check_free(out, place, overwrite)
        place.parent.mkdir(parents=True, exist_ok=True)
        staging = place.parent / f".{place.name}.{os.getpid()}.partial"
        staging.mkdir()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        reason = getattr(error, "strerror", None) or error
        raise WmDataError(f"{out}: cannot be written ({reason})") from error
    try:
        try:
            yield staging
        except OSError as error:
            if not _is_writing(error, staging):
                raise
            raise _failed(out, error) from error
        try:
            _check_free(out, place, overwrite)
            _rename(staging, place)
        except OSError as error:
            raise _failed(out, error) from error
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


def _is_writing(error: OSError, staging: Path) -> bool:
    named = isinstance(error.filename, str | os.PathLike)
    return error.errno in _DISK or (named and Path(error.filename).is_relative_to(staging))


def _failed(out: Path, error: OSError) -> WmDataError:
    return WmDataError(
        f"{out}: writing failed ({error.strerror or error}); it is as it was before, "
        "free some space or choose another folder"
    )


def _check_free(out: Path, place: Path, overwrite: Ours | None) -> None:
    """Raise where something stands at `place` that must not be replaced."""
    if place.exists() and not place.is_dir():
        raise WmDataError(f"{out}: is a file; choose a folder")
    if Path.cwd().is_relative_to(place):
        raise WmDataError(f"{out}: is the working directory, or holds it; choose another folder")
    if not place.is_dir() or not any(place.iterdir()):
        return
    if overwrite is None:
        raise WmDataError(f"{out}: exists already; choose another folder or pass --overwrite")
    if not overwrite(place):
        raise WmDataError(
            f"{out}: holds files that this command did not make, and is not overwritten; choose "
            "another folder, or remove it yourself"
        )


def _rename(staging: Path, out: Path) -> None:
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
    if not out.exists():
        staging.rename(out)
        return
    # A folder with files in it cannot be renamed over; the old one goes only now.
    old = out.parent / f".{out.name}.{os.getpid()}.old.partial"
    out.rename(old)
    try:
        staging.rename(out)
    finally:
        if not out.exists():
            old.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _sweep(out: Path) -> None:
    """Remove what gone processes left; the folder that one was about to replace comes back."""
    for path in sorted(out.parent.glob(f".{out.name}.*.partial")):
        found = re.fullmatch(rf"\.{re.escape(out.name)}\.(\d+)(\.old)?\.partial", path.name)
        if not found or _alive(int(found[1])):
            continue
        if found[2] and not out.exists():
            path.rename(out)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    if os.name == "nt":  # there, signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()
