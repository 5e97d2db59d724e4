"""Runs steps one after the other, in the process of `compat run`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pydantic import PrivateAttr

from compat_spec.components import Executor, Job, JobReport, JobRunner, Link


class Inline(Executor):
    """One step at a time, on the first device, beside the scheduler in the same process."""

    _pool: ThreadPoolExecutor | None = PrivateAttr(default=None)
    _runner: JobRunner | None = PrivateAttr(default=None)
    _device: str = PrivateAttr(default="cpu")
    _link: Link | None = PrivateAttr(default=None)

    def open(self, runner: JobRunner, devices: Sequence[str], link: Link) -> None:
        # a thread of its own, so that the scheduler stays free to show progress and to hear Ctrl-C
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compat-step")
        self._runner = runner
        self._device = devices[0]
        self._link = link

    @property
    def capacity(self) -> int:
        return 1

    def submit(self, job: Job) -> Future[JobReport]:
        if self._pool is None or self._runner is None or self._link is None:
            raise RuntimeError("submit was called before open")
        return self._pool.submit(self._runner, job, self._device, self._link)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
