"""Work in other processes: in order, nothing lost, and one clear line when a process is gone."""

import multiprocessing
import os
import time

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
