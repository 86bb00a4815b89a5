"""Feeds an open Weights & Biases run from a thread of its own. Opens none; raises nothing.

The truth is `log.jsonl`: whatever W&B does, or does not, training goes on and says so once.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wm_manifest import DatasetUse, EvalReport, WandbRef

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

SAMPLE_COLUMNS = ("task", "arm", "system", "prompt", "answer", "expected", "verdict", "passed")
SMALL = 20 * 2**20  # bytes of a dataset that is sent whole
WAITING = 1000  # calls; beyond it W&B has been stuck for a long time
FINISH_S = 60.0  # for slow calls that are left when training is over, and for what is to upload
GRACE_S = 10.0  # beyond FINISH_S, for W&B to see that its own time is over


# A call that asks the server may take long, or for ever: log lines go before it.
SOON, SLOW, END, STOP = range(4)


@dataclass(frozen=True, order=True)
class _Call:
    urgency: int
    number: int
    what: str = field(compare=False)
    call: Callable[[], object] | None = field(compare=False)  # None: the last


class Tracker:
    """One W&B run. Evaluation figures have their own x axis, `eval/step`; so have train's."""

    def __init__(
        self,
        run: wandb.Run | None,
        ref: WandbRef,
        attempt: int = 1,
        unsent: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._run = run
        self.ref = ref
        self._attempt = attempt
        self._unsent = unsent  # the command that sends what is on the disk
        self._sender = Sender() if run is not None else None

    def log(self, values: dict[str, Any]) -> None:
        """Send one line, with the attempt that it is of: after a crash steps come again."""
        self._call("a log line", lambda run: run.log(values | {"attempt": self._attempt}))

    def report(self, report: EvalReport, pictures: Sequence[Path] = ()) -> None:
        """Send an evaluation: every figure with its interval's ends, then samples and pictures."""
        place = {"eval/step": report.step, "attempt": self._attempt}
        values: dict[str, Any] = {"eval/valid": int(report.valid)}
        for name, figure in report.figures.items():
            if figure.value is not None:
                values[f"eval/{name}"] = figure.value
            if figure.low is not None and figure.high is not None:
                values |= {f"eval/{name}.low": figure.low, f"eval/{name}.high": figure.high}
        self._call("an evaluation", lambda run: run.log(place | values))

        def send(run: wandb.Run) -> None:
            import wandb

            shown = {f"eval/{p.stem}": wandb.Image(str(p)) for p in pictures if p.is_file()}
            run.log(place | shown | {"eval/samples": _table(report)})

        self._call("samples of an evaluation", send, SLOW)

    def dataset(self, use: DatasetUse, folder: Path) -> None:
        """Send the dataset's manifest as an artifact; all of the dataset if it is small."""
        about = {"manifest_sha256": use.manifest_sha256, "recipe": use.recipe, "seed": use.seed}

        def chosen() -> list[Path]:
            files = _files(folder)
            small = sum(path.stat().st_size for path in files) <= SMALL
            return files if small else [folder / "manifest.json"]

        self._artifact(f"dataset-{use.name}", "dataset", folder, chosen, about)

    def adapter(self, name: str, folder: Path) -> None:
        """Send the final adapter as an artifact."""
        self._artifact(f"adapter-{name}", "model", folder, lambda: _files(folder), {})

    def finish(self, exit_code: int) -> str | None:
        """Close the run, in bounded time; what a user should know, None where all was taken."""
        if self._run is None or self._sender is None:
            return None
        self._call("the end of the run", lambda run: run.finish(exit_code=exit_code), END)
        trouble = self._sender.close(FINISH_S, FINISH_S + GRACE_S)
        if trouble is None:
            return None
        end_service()
        command = self._unsent()
        if command is None:
            return trouble
        self.ref = self.ref.model_copy(update={"sync_command": command})
        return trouble

    def _artifact(
        self,
        name: str,
        kind: str,
        folder: Path,
        chosen: Callable[[], list[Path]],
        about: dict[str, Any],
    ) -> None:
        def send(run: wandb.Run) -> None:
            import wandb

            artifact = wandb.Artifact(name, type=kind, metadata=about)
            for path in chosen():  # "immutable": read from where it is, not copied to the home
                inside = path.relative_to(folder).as_posix()
                artifact.add_file(str(path), inside, skip_cache=True, policy="immutable")
            run.log_artifact(artifact)

        self._call(f"the artifact {name}", send, SLOW)

    def _call(self, what: str, send: Callable[[wandb.Run], object], urgency: int = SOON) -> None:
        run = self._run
        if run is not None and self._sender is not None:
            self._sender.put(what, lambda: send(run), urgency)


def end_service() -> None:
    """End W&B's own process, by force if need be.

    It goes on trying to upload for ever where its server hangs, and our process would wait for it.
    """
    import wandb
    from wandb.sdk import wandb_setup

    setup: Any = wandb_setup.singleton()  # its service is private, and nothing else bounds it
    service: Any = getattr(getattr(setup, "_connection", None), "_proc", None)
    process: Any = getattr(service, "_process", None)
    shown = threading.excepthook

    def show(args: threading.ExceptHookArgs) -> None:
        if args.exc_type.__name__ != "AlreadyJoinedError":  # its own threads miss their service
            shown(args)

    threading.excepthook = show
    waiting = threading.Thread(target=wandb.teardown, daemon=True)
    waiting.start()
    waiting.join(GRACE_S)
    if waiting.is_alive() and process is not None:
        process.kill()
        waiting.join(GRACE_S)


class Sender:
    """Makes calls in a thread, urgent ones first, and remembers the first that failed."""

    def __init__(self) -> None:
        self._calls: queue.PriorityQueue[_Call] = queue.PriorityQueue(WAITING)
        self._numbers = itertools.count()
        self._trouble: str | None = None
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._thread.start()

    def put(self, what: str, call: Callable[[], object], urgency: int = SOON) -> None:
        """Have `call` made later, in order of urgency; never where too many are waiting."""
        try:
            self._calls.put_nowait(_Call(urgency, next(self._numbers), what, call))
        except queue.Full:
            self._failed(what, f"{WAITING} calls before it are not answered yet")

    def close(self, slow_s: float, rest_s: float) -> str | None:
        """Wait for slow calls and for the rest, so long at most; what went wrong first, or None."""
        self._deadline = time.monotonic() + slow_s
        try:
            self._calls.put_nowait(_Call(STOP, next(self._numbers), "", None))
        except queue.Full:
            return self._trouble
        self._thread.join(slow_s + rest_s)
        if self._thread.is_alive():
            self._failed("everything", f"it did not answer within {slow_s + rest_s:.0f} s")
        return self._trouble

    def _work(self) -> None:
        while (item := self._calls.get()).call is not None:
            if item.urgency == SLOW and time.monotonic() > self._deadline:
                self._failed(item.what, "there was no time left for it")
                continue
            try:
                item.call()
            except Exception as error:  # whatever W&B raises
                self._failed(item.what, str(error) or type(error).__name__)

    def _failed(self, what: str, why: str) -> None:
        if self._trouble is None:
            self._trouble = f"W&B did not take {what}: {' '.join(why.split())}"
            log.warning("%s; log.jsonl has everything", self._trouble)


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _table(report: EvalReport) -> Any:
    import wandb

    columns: list[Any] = list(SAMPLE_COLUMNS)
    rows: list[Any] = [[getattr(s, column) for column in columns] for s in report.samples]
    return wandb.Table(columns=columns, data=rows)
