"""Jobs on several threads: how many at once, and what happens when one fails."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier, Event, Lock

import pytest
import torch

from compat_spec.nn.side_by_side import SideBySide


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    assert torch.get_num_threads() == 4
    torch.set_num_threads(before)


def test_jobs_run_at_once_each_with_one_thread_of_torch() -> None:
    together = Barrier(4, timeout=60)
    threads: list[int] = []

    def job() -> None:
        together.wait()
        threads.append(torch.get_num_threads())

    with SideBySide(room=100) as jobs:
        for _ in range(4):
            jobs.submit(1, job)
    assert threads == [1, 1, 1, 1]


def test_no_more_is_under_way_than_there_is_room_for() -> None:
    under_way, most, lock = 0, 0, Lock()

    def job(size: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += size
            most = max(most, under_way)
        with lock:
            under_way -= size

    with SideBySide(room=10) as jobs:
        for size in [4, 5, 6, 3, 3, 3, 25, 1, 9] * 20:
            jobs.submit(size, lambda size=size: job(size))
    assert most == 25, "what is larger than the room runs alone"


def test_the_first_error_ends_it_and_jobs_that_run_are_waited_for() -> None:
    begun, failing, done = Event(), Event(), Event()

    def long() -> None:
        begun.set()
        failing.wait(60)
        done.set()

    def fail() -> None:
        begun.wait(60)
        failing.set()
        raise ValueError("broken")

    def submit_more_and_more() -> None:
        with SideBySide(room=2) as jobs:
            jobs.submit(1, long)
            jobs.submit(1, fail)
            for _ in range(100):  # there is no room for the first of them before one of those has ended
                jobs.submit(2, lambda: started.append(1))

    started: list[int] = []
    with pytest.raises(ValueError, match="broken"):
        submit_more_and_more()
    assert done.is_set()
    assert not started
