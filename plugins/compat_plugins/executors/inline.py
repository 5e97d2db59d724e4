"""Runs steps one after the other, in the process of `compat run`."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from pydantic import PrivateAttr

from compat_spec.components import Executor, Job, JobReport, JobRunner


class Inline(Executor):
    """One step at a time, on one device, beside the scheduler in the same process."""

    _pool: ThreadPoolExecutor | None = PrivateAttr(default=None)
    _runner: JobRunner | None = PrivateAttr(default=None)
    _device: str = PrivateAttr(default="cpu")

    def open(self, runner: JobRunner, device: str) -> None:
        # a thread of its own, so that the scheduler stays free to show progress and to hear Ctrl-C
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compat-step")
        self._runner = runner
        self._device = device

    @property
    def capacity(self) -> int:
        return 1

    def submit(self, job: Job) -> Future[JobReport]:
        if self._pool is None or self._runner is None:
            raise RuntimeError("submit was called before open")
        return self._pool.submit(self._runner, job, self._device)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
