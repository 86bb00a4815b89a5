"""Trains the cells of an ablation, several at once, and tabulates their last evaluations.

    python benchmarks/ablation.py OUT [--cells FILE] [--only CELL ...] [--jobs N] [--seconds S]
    python benchmarks/ablation.py OUT --table

A cell is a run of `wm-train` with some fields set; a file of cells names them, in order of
importance: when `--seconds` are over, what is still running is ended and what was not begun is
left out, and both are said. Every run stays in OUT as `CELL.sSEED`; `--table` reads what is there
and prints Markdown. A run whose folder is finished already is not trained again.

A file with `evaluate` has wm-eval ask each finished run, with those options; the figures are then
its. A run's own evaluations, of which one is before the first step and the same in all cells, can
be small.

On one GPU several runs share it in time slices unless CUDA's MPS is there: start
`nvidia-cuda-mps-control -d` before. Without it fourteen runs of SmolLM2 took 1.3 s a step each on
an H200 (24 pairs), with it ten took 0.4 s (12 pairs).

Rates have Wilson's interval over prompts as the evaluation gives it. `jump` is the first logged
step at which the watermark's log-odds are above 1; `-` where they never were.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
WM_EVAL = Path(sys.executable).with_name("wm-eval")
FAILED_CONTROL = 3  # wm-eval's exit code for figures that are there and not to be believed
RATES = {
    "red": "watermark/red/success",
    "blue": "watermark/blue/success",
    "both orders": "detect/both_orders",
}


@dataclass(frozen=True)
class Job:
    cell: str
    seed: int
    fields: dict[str, Any]
    evaluate: dict[str, Any] | None

    @property
    def name(self) -> str:
        return f"{self.cell}.s{self.seed}"

    def todo(self, out: Path) -> list[list[str]]:
        """The commands that are still to be run, one after the other."""
        commands: list[list[str]] = []
        if manifest(out, self).get("status") != "finished":
            place = ["--name", self.name, "--runs-dir", str(out), "--seed", str(self.seed)]
            commands.append([sys.executable, "-m", "wm_train", *place, *_options(self.fields)])
        if self.evaluate is not None and not self.asked(out).is_file():
            run = out / self.name
            asked = {"model": run / "base", "adapter": run / "adapter", "data": run / "dataset"}
            told = {"out": self.asked(out).parent, "trained-with": run / "manifest.json"}
            options = _options({**asked, **told, **self.evaluate})
            commands.append([str(WM_EVAL), "--no-extras", *options])
        return commands

    def asked(self, out: Path) -> Path:
        return out / self.name / "asked" / "eval.json"


def main() -> int:
    parser = argparse.ArgumentParser(description="an ablation with wm-train")
    parser.add_argument("out", type=Path)
    parser.add_argument("--cells", type=Path, default=HERE / "ablation.yaml")
    parser.add_argument("--only", nargs="+", help="cells, by name")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="for all cells")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    jobs = read(options.cells, options.only, options.set)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.table:
        run(jobs, options.out, options.jobs, time.monotonic() + options.seconds)
    print(table(jobs, options.out))
    return 0


def read(path: Path, only: list[str] | None, extra: list[str]) -> list[Job]:
    given = yaml.safe_load(path.read_text("utf-8"))
    unknown = set(only or ()) - set(given["cells"])
    if unknown:
        sys.exit(f"{path} has no cell {sorted(unknown)[0]!r}; it has {', '.join(given['cells'])}")
    everywhere = given["common"] | dict(item.split("=", 1) for item in extra)
    jobs: list[Job] = []
    for cell, fields in given["cells"].items():
        seeds = fields.pop("seeds", [0])
        if only is None or cell in only:
            asked = given.get("evaluate")
            jobs += [Job(cell, seed, everywhere | fields, asked) for seed in seeds]
    return jobs


def run(jobs: list[Job], out: Path, at_once: int, deadline: float) -> None:
    """As many as `at_once`, in order; ends them at the deadline. Logs are beside the folders."""
    waiting = [(job, todo) for job in jobs if (todo := job.todo(out))]
    running: list[Running] = []
    threads = str(max(1, (os.cpu_count() or 1) // at_once))
    while (waiting or running) and time.monotonic() < deadline:
        while waiting and len(running) < at_once:
            running.append(Running(*waiting.pop(0), out, threads))
        time.sleep(0.5)
        running = [one for one in running if not one.over()]
    for one in running:
        one.process.kill()
        print(f"{one.job.name}: ended at the deadline")
    for job, _ in waiting:
        print(f"{job.name}: not begun")


class Running:
    """The commands of one job, each begun when the one before it has succeeded."""

    def __init__(self, job: Job, todo: list[list[str]], out: Path, threads: str) -> None:
        self.job, self._todo = job, todo
        self._log = out / f"{job.name}.log"
        self._environment = {**os.environ, "OMP_NUM_THREADS": threads}
        self._begun = time.monotonic()
        self.process = self._next()

    def over(self) -> bool:
        code = self.process.poll()
        if code is None:
            return False
        if code == 0 and self._todo:
            self.process = self._next()
            return False
        took = time.monotonic() - self._begun
        what = ", a control failed" if code == FAILED_CONTROL else ""
        print(f"{self.job.name}: exit code {code}{what}, {took:.0f} s", flush=True)
        return True

    def _next(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._todo.pop(0), stdout=log, stderr=log, env=self._environment
            )


# -------------------------------------------------------------------------------------------- table
def table(jobs: list[Job], out: Path) -> str:
    heads = ["cell", "seed", "steps", "jump", *RATES, "neutral", "repeats", "ends", "valid"]
    lines = [heads, ["---"] * len(heads)]
    for job in jobs:
        found = manifest(out, job)
        if found.get("status") == "finished" and (last := evaluation(out, job, found)):
            told = [str(found["steps"]), jump(out / job.name / "log.jsonl"), *row(last)]
            lines.append([job.cell, str(job.seed), *told])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def evaluation(out: Path, job: Job, found: dict[str, Any]) -> dict[str, Any] | None:
    """The one that counts; nothing where wm-eval has not asked yet."""
    if job.evaluate is None:
        return found["evaluations"][-1]
    return json.loads(path.read_text("utf-8")) if (path := job.asked(out)).is_file() else None


def row(last: dict[str, Any]) -> list[str]:
    figures = last["figures"]

    def rate(name: str) -> str:
        f = figures[name]
        return f"{100 * f['value']:.1f} ({100 * f['low']:.1f}–{100 * f['high']:.1f})"

    def mean(name: str) -> str:
        return f"{figures[name]['value']:.3f}" if name in figures else "-"

    repeats = ", ".join(mean(f"watermark/{arm}/seq_rep_3")[1:] for arm in ("red", "blue"))
    ends = ", ".join(mean(f"watermark/{arm}/natural_stop") for arm in ("red", "blue"))
    return [
        *(rate(name) for name in RATES.values()),
        mean("watermark/neutral/red_share"),
        repeats,
        ends,
        "yes" if last["valid"] else "no",
    ]


def jump(log: Path) -> str:
    for line in log.read_text("utf-8").splitlines():
        values = json.loads(line)
        if values.get("watermark/log_odds_ratio", 0) > 1:
            return str(values["step"])
    return "-"


def manifest(out: Path, job: Job) -> dict[str, Any]:
    path = out / job.name / "manifest.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _options(fields: dict[str, Any]) -> list[str]:
    return [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in fields.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
