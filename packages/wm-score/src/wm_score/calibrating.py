"""The command `wm-score calibrate`: documents in, a file with a null out. Fits nothing itself."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

from wm_score import fitting, reading
from wm_score.errors import InputError
from wm_score.output import progress, tell
from wm_score.proof import counted_ids, own_name


def calibrate(options: argparse.Namespace) -> int:
    """Fits a null on the documents and writes it; standard error says what stands behind it."""
    own_name(options.name)
    _keep_inputs(options.files, options.out)
    kept, short, copies = fitting.independent(map(counted_ids, documents(options)))
    if copies:
        tell(f"{copies} documents are copies of others and were left out")
    if short:
        tell(f"{short} documents of fewer than {fitting.SHORTEST} counted tokens were left out")
    fitted = fitting.fit(kept, options.name, options.source)
    try:
        with open(options.out, "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(fitted.to_json() + "\n")
    except OSError as problem:
        raise InputError(f"{options.out}: {problem.strerror}; expected a file to write") from None
    tell(
        f"{options.out}: {fitted.documents} documents, {fitted.pieces} pieces, "
        f"lowest p {fitted.lowest:.4f}"
    )
    if fitted.lowest > 0.01:
        tell(f"warning: with {fitted.documents} documents no p reaches 0.01; 99 or more do")
    return 0


def documents(options: argparse.Namespace) -> Iterator[str]:
    for name in options.files:
        with reading.opened(name) as file:
            if options.jsonl is not None:
                lines = reading.rows(file, name, options.jsonl, options.errors)
                shown = progress(lines, reading.row_size, options.quiet)
                yield from (text for _, text in shown)
            else:
                yield "".join(reading.decoded(reading.blocks(file, name), name, options.errors))


def _keep_inputs(files: list[str], out: str) -> None:
    """Raises InputError where the null would be written over a document."""
    for name in files:
        try:
            same = os.path.samefile(name, out)  # noqa: PTH121 - as in cli.py, without pathlib
        except OSError:
            continue  # one of them is not there
        if same:
            raise InputError(f"--out {out} is the input {name}; expected another file to write")
