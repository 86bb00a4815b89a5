"""The folder of an evaluation: writes its files as belonging together, reads them only if they do.

A report beside another evaluation's samples would be a page and a comparison of no model at all.
Computes no figure and knows nothing of an evaluation that is not finished.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from wm_eval import answers as answers_file
from wm_eval import samples_table
from wm_eval.answers import Answer
from wm_eval.atomic import replaced
from wm_eval.errors import WmEvalError
from wm_manifest import EvalReport, ManifestError, load, save

REPORT, SAMPLES, TABLE = "eval.json", "samples.jsonl", samples_table.NAME
SUMS = "SHA256SUMS"  # of the three, as sha256sum writes it and `sha256sum -c` reads it
PAGE, PLOTS = "report.html", "plots"  # what `wm_eval.page` makes of them

log = logging.getLogger(__name__)


def write(report: EvalReport, answers: Sequence[Answer], folder: Path) -> None:
    """All files of a finished evaluation; the page and the plots of an earlier one are removed.

    A kill on the way leaves the hashes of what was here before, or none: the files of two
    evaluations are not read as one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    answers_file.write(answers, folder / SAMPLES)
    samples_table.write(answers, folder / TABLE)
    for old in (folder / PAGE, *(folder / PLOTS).glob("*.svg")):
        old.unlink(missing_ok=True)
    save(report, folder / REPORT)
    seal(folder)


def seal(folder: Path) -> None:
    """Note that the files of the folder, as they are now, belong together."""
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in (REPORT, SAMPLES, TABLE)]
    with replaced(folder / SUMS) as staging:
        staging.write_text("".join(lines), encoding="utf-8", newline="\n")


def read(folder: Path) -> tuple[EvalReport, list[Answer]]:
    """Report and samples of one evaluation. Raises `WmEvalError` where they are not of one."""
    report, answers = read_report(folder), answers_file.read(folder / SAMPLES)
    other = _others(folder)
    if other is None:
        _check_shown(report, answers, folder)
        log.warning(
            "%s has no %s, as an earlier wm-eval wrote it or some files were copied alone: it is "
            "not known whether all its samples are of its %s",
            *(folder, SUMS, REPORT),
        )
        return report, answers
    if read_here := [name for name in other if name != TABLE]:
        raise _mixed(folder, f"not as in {SUMS}: {' and '.join(read_here)}")
    if other:
        log.warning("%s/%s is not as it was written; its samples are not used here", folder, TABLE)
    return report, answers


def read_report(folder: Path) -> EvalReport:
    """The eval.json of a folder that `wm-eval --out` wrote, whatever lies beside it."""
    try:
        return load(EvalReport, folder / REPORT)
    except ManifestError as error:
        raise WmEvalError(f"{error}; is this a folder that wm-eval --out wrote?") from error


def _others(folder: Path) -> list[str] | None:
    """Files that are not as they were written; a table that is missing is none. None: no hashes."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    noted = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = [name for name in (REPORT, SAMPLES, TABLE) if (folder / name).is_file()]
    return [name for name in there if noted.get(name) != _sha256(folder / name)]


def _check_shown(report: EvalReport, answers: Sequence[Answer], folder: Path) -> None:
    """Without hashes: the few answers that a report shows must be among the samples."""
    given = {(a.task, a.arm, a.answer) for a in answers}
    if not all((s.task, s.arm, s.answer) in given for s in report.samples):
        raise _mixed(folder, f"{SAMPLES} lacks answers that {REPORT} shows")


def _mixed(folder: Path, why: str) -> WmEvalError:
    return WmEvalError(
        f"{folder} has files of more than one evaluation, or some that were changed: {why}; "
        "copy the whole folder again, or evaluate again with --overwrite"
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
