"""Rows appended to a file with a journal beside it, so that a killed run goes on where it was.

The journal's first line holds the settings; each further line one finished part, with the length
that the rows' file had after it. What stands behind that length is cut off when the run goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, cast

from wm_data.errors import WmDataError

Line = dict[str, Any]


class Journal:
    """The rows' file `out` and its journal `out.log`, held for this process until `close`.

    `WmDataError` when another one that lives holds it. The system lets go of what died.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        self.out, self.path = out, out.with_name(out.name + ".log")
        self.parts: list[Line] = []
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._held = _hold(out)
        except OSError as error:
            raise _failed(out, error) from error
        try:
            self._open(settings, overwrite)
        except BaseException:
            self.close()
            raise

    def _open(self, settings: Mapping[str, Any], overwrite: bool) -> None:
        try:
            if overwrite:
                os.truncate(self.out, 0)
                self.path.unlink(missing_ok=True)
            lines = self._whole_lines()
            self._begun = bool(lines)
            if lines:
                _same(self.path, lines[0], settings)
                self.parts = lines[1:]
            elif self.out.stat().st_size:
                raise WmDataError(
                    f"{self.out}: is there without {self.path.name}, so it cannot be continued; "
                    "choose another file or pass --overwrite"
                )
            self._restore()
            if not self._begun:
                _append(self.path, [settings])
                self._begun = True
        except OSError as error:
            raise _failed(self.out, error) from error

    def close(self) -> None:
        """Let another process write."""
        self._held.close()

    def add(self, rows: Iterable[Mapping[str, Any]], part: Mapping[str, Any]) -> None:
        """Append the rows of one part, then what the journal says of it."""
        try:
            _append(self.out, rows)
            line = {**part, "bytes": self.out.stat().st_size}
            _append(self.path, [line])
        except OSError as error:
            raise _failed(self.out, error) from error
        self.parts.append(line)

    def reopen(self) -> None:
        """Forget the last part: it is to be made again."""
        self.parts.pop()
        self._restore()

    def _restore(self) -> None:
        """Cut both files to what the journal's whole lines say."""
        wanted = self.parts[-1]["bytes"] if self.parts else 0
        found = self.out.stat().st_size
        if found < wanted:
            raise WmDataError(
                f"{self.out}: has {found:,} bytes, {self.path.name} says {wanted:,}; it was "
                "changed, so it cannot be continued; choose another file or pass --overwrite"
            )
        if found > wanted:
            os.truncate(self.out, wanted)
        if not self._begun:
            self.path.unlink(missing_ok=True)  # its first line was cut short: nothing rests on it
        else:
            with self.path.open("rb+") as file:
                kept = [file.readline() for _ in range(len(self.parts) + 1)]
                file.truncate(sum(map(len, kept)))

    def _whole_lines(self) -> list[Line]:
        """The journal's lines; one that a kill cut short is the last and is left out."""
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")[:-1]
        try:
            return [cast(Line, json.loads(line)) for line in lines]
        except ValueError as error:
            raise WmDataError(
                f"{self.path}: is damaged ({error}); remove it with {self.out.name}, or pass "
                "--overwrite"
            ) from None


def _hold(out: Path) -> IO[bytes]:
    """The rows' file, made if need be and locked; two writers would cut off each other's rows."""
    file = out.open("ab")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise WmDataError(
            f"{out}: another process is writing to it; wait for that one, or choose another file"
        ) from None
    except (ImportError, OSError):  # Windows, and disks that have no locks: there nobody looks
        pass
    return file


def _same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    other = [name for name in wanted if found.get(name) != wanted[name]]
    if other:
        name = other[0]
        raise WmDataError(
            f"{path}: was begun with {name} {found.get(name)!r}, now it is {wanted[name]!r}; give "
            "the same settings to go on, choose another file, or pass --overwrite"
        )


def _append(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    with path.open("ab") as file:
        file.write(text.encode("utf-8", "surrogatepass"))
        file.flush()
        os.fsync(file.fileno())


def _failed(out: Path, error: OSError) -> WmDataError:
    return WmDataError(
        f"{out}: cannot be written ({error.strerror or error}); make room or choose another file, "
        "then give the same command to go on"
    )
