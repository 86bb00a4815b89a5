"""Share of a run that checkpoints and logging take at the preset's own cadence. Prints JSON.

    python benchmarks/overhead.py [--preset demo] [--steps N] [--eval-limit N] [--pairs N]

The calls themselves are timed inside a real run, with a monotonic clock and in the main thread, so
no difference of two noisy runs is needed. Counted: checkpoints with their hashes and fsync,
`log.jsonl`, every write of the manifest and the card and what is gathered for them, W&B (opening
it, handing it each call, waiting for it in the end; it runs offline), plots, the board of a
terminal, and the metrics that are logged, summed up in each step and averaged at each line. Time
inside another counted call counts once, for the inner one. Not counted: evaluation, and what other
threads and W&B's own process take. That is in the paired total: the same run without W&B, with one
log line and one checkpoint, both in the end, and nothing shown. What is then timed all the same is
in `off`. A run is a process of its own; pairs change their order.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from importlib import metadata
from pathlib import Path
from typing import Any

BAR = 0.05
EVALUATION = "evaluation"  # timed to be left out


def main() -> int:
    parser = argparse.ArgumentParser(description="what checkpoints and logging cost a run")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--steps", type=int, help="by default the preset's own")
    parser.add_argument("--eval-limit", type=int, help="test rows of every evaluation")
    parser.add_argument("--pairs", type=int, default=1, help="0: no paired total")
    parser.add_argument("--child", choices=("on", "off"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run_once(options)))
        return 0
    ways = [("on", "off") if number % 2 == 0 else ("off", "on") for number in range(options.pairs)]
    runs = [child(way) for pair in ways or [("on",)] for way in pair]
    worst = max(run["share without evaluation"] for run in runs if run["way"] == "on")
    result: dict[str, Any] = {
        "machine": {"python": platform.python_version(), "cpus": os.cpu_count()},
        "versions": {n: metadata.version(n) for n in ("torch", "transformers", "wandb")},
        "options": {k: v for k, v in vars(options).items() if k != "child"},
        "runs": runs,
        "share without evaluation, at most": worst,
        "within the bar of 5 %": worst <= BAR,
    }
    if options.pairs:
        result["paired total"] = paired(runs)
    print(json.dumps(result, indent=2))
    return 0


def child(way: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--child", way],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def paired(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Mean seconds without evaluations of either way, and the share that the difference is."""
    seconds: dict[str, list[float]] = {"on": [], "off": []}
    for run in runs:
        seconds[run["way"]].append(run["seconds without evaluation"])
    on, off = (sum(found) / len(found) for found in (seconds["on"], seconds["off"]))
    return {"on": on, "off": off, "share": (on - off) / on}


# -------------------------------------------------------------------------------------------- clock
class Stopwatch:
    """Seconds of the main thread by name; those of a call inside another are the inner one's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._inner: list[float] = []  # of each call that is running: seconds of those inside it

    def time(self, name: str, place: Any, function: str) -> None:
        """Have every call of `place.function` timed as part of `name`."""
        original: Callable[..., Any] = getattr(place, function)

        @wraps(original)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return original(*args, **kwargs)
            self._inner.append(0.0)
            begun = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                took = time.perf_counter() - begun
                self.seconds[name] += took - self._inner.pop()
                self.calls[name] += 1
                if self._inner:
                    self._inner[-1] += took

        setattr(place, function, timed)


def watch(clock: Stopwatch) -> None:
    from wm_train import plots, provenance, run, stages, tracking
    from wm_train.checkpoints import VerifiedCheckpoints
    from wm_train.journal import Journal
    from wm_train.meter import Meter
    from wm_train.progress import Board
    from wm_train.record import RunRecord
    from wm_train.resume import ResumableEval
    from wm_train.tracker import Tracker
    from wm_train.trainer import WatermarkOrpoTrainer

    table: dict[str, list[tuple[Any, tuple[str, ...]]]] = {
        "checkpoints": [(VerifiedCheckpoints, ("_save_checkpoint",))],
        "log.jsonl": [(Journal, ("write",)), (run, ("rewind", "read"))],
        "manifest and card": [
            (RunRecord, ("__init__", "update", "checkpoints")),
            (run, ("_first_manifest",)),
            (stages, ("_write_card",)),
            (provenance, ("file_refs",)),
        ],
        "W&B": [
            (tracking, ("open_run", "config_of")),
            (Tracker, ("log", "report", "dataset", "adapter", "finish")),
        ],
        "plots": [(plots, ("draw",))],
        "board": [
            (Board, ("on_train_begin", "on_step_begin", "on_step_end", "on_log", "on_train_end")),
            (Board, ("evaluated", "stop", "render")),
        ],
        "metrics": [(Meter, ("add", "take"))],
        "the trainer's log": [(WatermarkOrpoTrainer, ("log",))],
        EVALUATION: [(ResumableEval, ("_evaluate",))],
    }
    for name, entries in table.items():
        for place, functions in entries:
            for function in functions:
                clock.time(name, place, function)


# ---------------------------------------------------------------------------------------------- run
def run_once(options: argparse.Namespace) -> dict[str, Any]:
    import wandb  # importing it is no part of a run
    from rich.console import Console

    from wm_train import presets, run
    from wm_train.config import TrainConfig
    from wm_train.quiet import quieten

    quieten()
    on = options.child == "on"
    fields = presets.load(options.preset)
    if options.steps:
        fields["optim"] = {**fields["optim"], "steps": options.steps}
    if options.eval_limit:
        limits = {"limit": options.eval_limit, "full_limit": options.eval_limit}
        fields["evaluation"] = {**fields["evaluation"], **limits}
    if not on:
        fields |= {"log_every": 10**9, "tracking": {"mode": "disabled"}}
        fields["checkpoint"] = {"every": 10**9, "keep": 1}
    config = TrainConfig.model_validate(fields)
    clock = Stopwatch()
    watch(clock)
    with tempfile.TemporaryDirectory() as name, Path(os.devnull).open("w") as nowhere:
        folder = Path(name) / "run"
        folder.mkdir()
        console = Console(file=nowhere, force_terminal=on, quiet=not on, width=120)
        begun = time.perf_counter()
        manifest = run.train(config, folder, options.preset, ["wm-train"], console)
        wall = time.perf_counter() - begun
    wandb.teardown()
    evaluation = clock.seconds.pop(EVALUATION)
    counted = sum(clock.seconds.values())
    return {
        "way": options.child,
        "steps": manifest.steps,
        "seconds": wall,
        "seconds without evaluation": wall - evaluation,
        "seconds counted": counted,
        "share": counted / wall,
        "share without evaluation": counted / (wall - evaluation),
        "parts": {
            part: {"seconds": seconds, "calls": clock.calls[part]}
            for part, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1])
        },
    }


if __name__ == "__main__":
    sys.exit(main())
