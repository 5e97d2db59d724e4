"""Runs steps in worker processes of this machine: one for each GPU, or several on the CPU."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Event as Flag
from threading import Thread

from pydantic import Field, PrivateAttr

from compat_plugins.executors.inline import Inline
from compat_plugins.executors.worker import Worker
from compat_spec.components import Executor, Job, JobReport, JobRunner, Link

PATIENCE = 15.0
"""Seconds that a worker has to end, when it is told to."""


class Local(Executor):
    """Worker processes on this machine: one for each GPU, several on a CPU by `workers`, which share its threads.

    A step goes to a worker that has read its inputs before. With one worker, steps run in the process of `compat run`.
    """

    workers: int | None = Field(
        default=None, ge=1, description="How many processes; by default one for each GPU, and one on a CPU."
    )

    _inline: Inline | None = PrivateAttr(default=None)
    _workers: list[Worker] = PrivateAttr(default_factory=list)
    _start: tuple[JobRunner, Link, int | None] | None = PrivateAttr(default=None)
    _closed: Flag = PrivateAttr(default_factory=Flag)

    def open(self, runner: JobRunner, devices: Sequence[str], link: Link) -> None:
        places = [devices[i % len(devices)] for i in range(self.workers or len(devices))]
        if len(places) == 1:
            self._inline = Inline()
            self._inline.open(runner, places, link)
            return
        on_cpu = sum(place == "cpu" for place in places)
        threads = max(1, _own_threads() // on_cpu) if on_cpu else None
        self._start = runner, link, threads
        self._workers = [self._worker(place) for place in places]
        Thread(target=self._pass_on_stop, daemon=True, name="tells workers to stop").start()

    @property
    def capacity(self) -> int:
        return self._inline.capacity if self._inline else len(self._workers)

    def submit(self, job: Job) -> Future[JobReport]:
        if self._inline:
            return self._inline.submit(job)
        idle = [index for index, worker in enumerate(self._workers) if not worker.busy]
        if not idle:
            raise RuntimeError("submit was called when every worker was busy, or before open")
        best = max(idle, key=lambda index: len(self._workers[index].held & job.needs))
        if not self._workers[best].alive:
            self._workers[best] = self._worker(self._workers[best].device)
        return self._workers[best].submit(job)

    def close(self) -> None:
        self._closed.set()
        if self._inline:
            self._inline.close()
        for worker in self._workers:
            worker.say_close()
        deadline = time.monotonic() + PATIENCE
        for worker in self._workers:
            worker.close(deadline - time.monotonic())
        self._workers = []

    def _worker(self, device: str) -> Worker:
        assert self._start is not None
        runner, link, threads = self._start
        return Worker(runner, device, link, threads)

    def _pass_on_stop(self) -> None:
        assert self._start is not None
        _, link, _ = self._start
        while not self._closed.wait(0.1):
            if link.stopping():
                for worker in self._workers:
                    worker.stop()
                return


def _own_threads() -> int:
    """The threads that torch uses in this process, as OMP_NUM_THREADS or the cores allow."""
    import torch

    return torch.get_num_threads()
