"""Whether an output folder holds a finished evaluation. Reads its report alone, writes nothing."""

from __future__ import annotations

from pathlib import Path

from wm_eval.errors import WmEvalError
from wm_eval.folder import REPORT
from wm_eval.show import named
from wm_manifest import EvalReport, ManifestError, load


def check_not_finished(out: Path) -> None:
    """Raise `WmEvalError` for a folder whose eval.json a new evaluation would replace.

    A killed evaluation has left its answers there and no report: it goes on.
    """
    path = out / REPORT
    if path.exists():
        raise WmEvalError(
            f"--out {out} holds {_held(path)}; give another --out, or --overwrite to replace it"
        )


def _held(path: Path) -> str:
    try:
        report = load(EvalReport, path)
    except ManifestError:  # of another version, or damaged: somebody's all the same
        return f"an {REPORT} that this version cannot read"
    day = f" of {report.started_at[:10]}" if report.started_at else ""
    return f"the finished evaluation{day} of {named(report.model)}"
