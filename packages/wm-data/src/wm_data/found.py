"""Finds the data files of a path, a folder or a pattern. Opens none of them."""

from __future__ import annotations

import glob
import logging
import re
from pathlib import Path
from typing import NamedTuple

from wm_data.errors import WmDataError
from wm_data.placing import DATA_SUFFIXES, HUB_ID, is_path
from wm_data.recipe import Role
from wm_data.rows import has_surrogate

READABLE = (".parquet", ".jsonl", ".jsonl.gz", ".csv")
HELD_OUT = re.compile(
    r"(?<![a-z])(heldout|held_out|holdout|test|eval|validation|valid|val|dev)(?![a-z])"
)
TRAIN = re.compile(r"(?<![a-z])(train|training)(?![a-z])")
log = logging.getLogger(__name__)


class DataFile(NamedTuple):
    """A file, and its name without the folders that the source was given with."""

    path: Path
    name: str  # with `/`


def find_files(location: str, role: Role) -> list[DataFile]:
    """The data files of a path, a folder or a pattern, sorted by name; of a folder no hidden ones.

    A relative path is taken from the working directory. A folder whose files are named for
    training and for held-out splits is refused unless the role takes both: which are meant is not
    guessed.
    """
    place = Path(location).expanduser()
    if place.is_dir():
        inside = sorted(path for path in place.rglob("*") if path.is_file())
        paths = [path for path in inside if suffix(path) in READABLE and not _hidden(path, place)]
        _tell_skipped(location, sorted({*inside} - {*paths}))
    elif place.is_file():
        paths = [place]
    else:
        names = glob.glob(str(place), recursive=True)  # noqa: PTH207 (absolute too)
        paths = sorted(path for path in map(Path, names) if path.is_file())
    if not paths:
        named = f"{location}@main"
        of_hub = HUB_ID.fullmatch(named) is not None and not is_path(named)
        hub = f"; for the hub's write {named}" if of_hub else ""
        raise WmDataError(
            f"{location}: no data file there; expected a file, a folder or a pattern of "
            f"{', '.join(READABLE)}{hub}"
        )
    for path in paths:
        if has_surrogate(str(path)):
            raise WmDataError(
                f"{path}: its name is not UTF-8, so no manifest can hold it; rename it"
            )
        if suffix(path) not in READABLE:
            raise WmDataError(
                f"{path}: cannot be read as {suffix(path) or 'a file without a suffix'}; "
                f"expected one of {', '.join(READABLE)}"
            )
    base = place if place.is_dir() else place.parent if place.is_file() else _base(place)
    found = [DataFile(path, path.relative_to(base).as_posix()) for path in paths]
    if place.is_dir():
        _check_splits(location, [file.name for file in found], role)
    return found


def suffix(path: Path) -> str:
    """How the file's name ends, with what it is packed in.

    >>> suffix(Path("a.b.jsonl")), suffix(Path("rows.jsonl.gz"))
    ('.jsonl', '.jsonl.gz')
    """
    return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix


def _hidden(path: Path, place: Path) -> bool:
    """Whether the file, or a folder on the way to it, is one that patterns do not see either.

    An editor's older copies (.ipynb_checkpoints) and caches are no rows of the source.
    """
    return any(part.startswith(".") for part in path.relative_to(place).parts)


def _base(place: Path) -> Path:
    """The folder that a pattern's names are relative to: the last one without a pattern in it."""
    base = place.parent
    while glob.has_magic(str(base)):
        base = base.parent
    return base


def _check_splits(location: str, names: list[str], role: Role) -> None:
    held_out = [name for name in names if HELD_OUT.search(name.lower())]
    train = [name for name in names if name not in held_out and TRAIN.search(name.lower())]
    if role != "both" and held_out and train:
        wanted = train[0] if role == "train" else held_out[0]
        raise WmDataError(
            f"{location}: role {role}, and its files are of several splits ({train[0]}, "
            f"{held_out[0]}); name those to read, such as {location.rstrip('/')}/{wanted}"
        )


def _tell_skipped(location: str, paths: list[Path]) -> None:
    names = [path.name for path in paths if suffix(path) in DATA_SUFFIXES]
    if names:
        log.warning(
            "%s: not read: %s; can be read: %s that are not hidden",
            location, ", ".join(names), ", ".join(READABLE),
        )  # fmt: skip
