"""A gigabyte through `--jsonl`: in order, complete, and in memory that does not grow with it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

import wm_score

SIZE = 1_000_000_000
ROWS_A_BLOCK = 500
MOST_MB = 100  # a process that has only imported the package takes about 25


def peak_mb(pid):
    """Highest resident memory of a running process so far, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) / 1e3


@pytest.mark.slow
@pytest.mark.timeout(1_800)  # it took 13 minutes beside other work
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads /proc")
def test_a_gigabyte_of_lines_in_bounded_memory(tmp_path):
    rng = random.Random(0)
    known = [wm_score.token_bytes(i).decode("utf-8", "ignore") for i in range(300, 60_000)]
    texts = ["".join(rng.choices(known, k=400)) for _ in range(ROWS_A_BLOCK)]
    path = tmp_path / "large.jsonl"
    rows = 0
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < SIZE:
            for text in texts:  # the end never repeats: no memo helps for ever
                row = {"n": rows, "text": f"{text} {rng.getrandbits(64):x}"}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                rows += 1
    command = [sys.executable, "-m", "wm_score", "--jsonl", "text", str(path)]
    found, highest = 0, 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as ran:
        assert ran.stdout is not None
        for line in ran.stdout:
            if found % 10_000 == 0:
                row = json.loads(line)
                assert row["n"] == found
                assert row["wm_score"]["even"] == wm_score.score(row["text"]).even
                highest = max(highest, peak_mb(ran.pid))
            found += 1
    assert ran.returncode == 0
    assert found == rows
    print(f"{highest:.0f} MB at the peak")
    assert highest < MOST_MB
