"""Runs jobs on several threads, each operation of torch on the thread that calls it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition
from types import TracebackType

import torch


class SideBySide:
    """As many threads as torch has, with a job on each: `with SideBySide(room) as jobs: jobs.submit(size, job)`.

    Threads that share every small operation wait for each other all the time, and how they share out a sum decides how
    it is rounded. A job that keeps to one thread gives the same bits however many there are.

    At the end of the block all jobs are done. The first that fails keeps those from starting that have not, and its
    error is raised by the next `submit`, or at the end.

    Args:
        room: how large the jobs under way are together, at most; a single one may be larger.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._used = 0
        self._changed = Condition()
        self._error: BaseException | None = None

    def __enter__(self) -> SideBySide:
        self._torch_threads = torch.get_num_threads()
        self._threads = ThreadPoolExecutor(self._torch_threads)
        torch.set_num_threads(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._threads.shutdown(cancel_futures=kind is not None)
        torch.set_num_threads(self._torch_threads)
        if kind is None:
            self._raise()

    def submit(self, size: int, job: Callable[[], None]) -> None:
        """Start a job when there is room for it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + size <= self._room)
            self._used += size
        self._raise()

        def ended(future: Future[None]) -> None:
            with self._changed:
                self._used -= size
                if not future.cancelled():
                    self._error = self._error or future.exception()
                self._changed.notify()

        self._threads.submit(self._unless_failed, job).add_done_callback(ended)

    def _unless_failed(self, job: Callable[[], None]) -> None:
        if self._error is None:
            job()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
