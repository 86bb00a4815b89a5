"""Where a run's evaluations go: manifest, log, W&B, pictures and terminal. Evaluates nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from wm_manifest import EvalReport
from wm_train import plots, summary
from wm_train.journal import Journal, read
from wm_train.progress import Board
from wm_train.record import RunRecord
from wm_train.tracker import Tracker


class Reporting:
    """Is told of every evaluation, and knows which steps have theirs. Call it with a report.

    `over` says whether training has made its last step: the pictures are then drawn whatever it
    costs. `every` is the steps between two evaluations, which the progress bar counts.
    """

    def __init__(
        self,
        run_dir: Path,
        record: RunRecord,
        journal: Journal,
        tracker: Tracker,
        bar: Board,
        console: Console,
        every: int,
        over: Callable[[], bool],
    ) -> None:
        self._run_dir, self._log = run_dir, run_dir / "log.jsonl"
        self._record, self._journal, self._tracker = record, journal, tracker
        self._bar, self._console = bar, console
        self._every, self._over = every, over
        self._curves = plots.Curves(record.manifest.name, run_dir / "plots")
        self._logged = {line["step"] for line in read(self._log, "eval")}

    def __call__(self, report: EvalReport) -> None:
        self._record.evaluated(report)
        self.known(report.step or 0)  # writes its line
        self._tracker.report(report, self.draw(last=self._over()))
        self._bar.evaluated(report, self._every)
        self._console.print(summary.headline(report), highlight=False)

    def known(self, step: int) -> bool:
        """Whether a step is evaluated; sees to it that the log says so once."""
        done = next((e for e in self._record.manifest.evaluations if e.step == step), None)
        if done is not None and step not in self._logged:
            values = {name: figure.value for name, figure in done.figures.items()}
            self._journal.write("eval", step, valid=done.valid, figures=values)
            self._logged.add(step)
        return done is not None

    def draw(self, last: bool) -> list[Path]:
        """Draw the curves anew where it is time, and record them; the paths of the pictures."""
        lines, done = read(self._log, "train"), self._record.manifest.evaluations
        curves = self._curves.refresh(done, lines, last)
        self._record.update(plots=[path.relative_to(self._run_dir).as_posix() for path in curves])
        return curves
