"""Work in other processes: in order, nothing lost, and one clear line when a process is gone."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import wm_data
from wm_data.workers import in_order

PARTS = [(str(number), number) for number in range(-9, 9)]


@pytest.mark.parametrize(("workers", "alone"), [(1, 0), (1, 99), (2, 0), (2, 5), (2, 99)])
def test_results_come_in_order_with_what_was_kept(workers, alone):
    found = list(in_order(abs, iter(PARTS), workers, alone))
    assert found == [(kept, abs(sent)) for kept, sent in PARTS]


def test_no_parts_are_no_results():
    assert list(in_order(abs, [], 2, 0)) == []


def test_a_worker_that_is_gone_is_one_line():
    with pytest.raises(wm_data.WmDataError, match=r"ended before its work was done.*--workers 1"):
        list(in_order(os._exit, [("", 1)], 2, 0))


def test_an_error_of_the_input_ends_the_workers():
    def parts():
        yield "", 1
        raise wm_data.WmDataError("row 2 of seeds.jsonl: is empty")

    with pytest.raises(wm_data.WmDataError, match="row 2"):
        list(in_order(abs, parts(), 2, 0))
    deadline = time.monotonic() + 20
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


KILLED = """
import multiprocessing, time
from wm_data.workers import in_order
if __name__ == "__main__":
    for _ in in_order(abs, (("", n) for n in range(99)), 2, 0):
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_workers_end_when_their_main_process_is_killed(tmp_path):
    (tmp_path / "main.py").write_text(KILLED)
    main = subprocess.Popen(
        [sys.executable, tmp_path / "main.py"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    workers = [int(pid) for pid in main.stdout.readline().split()]
    assert workers
    main.kill()
    main.wait()
    main.stdout.close()
    deadline = time.monotonic() + 60
    while (left := [pid for pid in workers if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def alive(pid):
    """Whether a process runs; one that has ended may still wait for its new parent to look."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
