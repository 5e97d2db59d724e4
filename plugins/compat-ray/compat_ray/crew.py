"""The actors of a run as the driver sees them: who is there, who is free, who has died and is replaced."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from compat_ray.actor import Place, Progress, Reply
from compat_spec.components import Job, JobReport, Link
from compat_spec.errors import CompatError, WorkerLost

TALK_EVERY = 0.1
"""Seconds between two questions to a running job."""

STARTS = 3
"""How often in a row a worker may fail to start, before the run does."""


@dataclass(eq=False)
class Worker:
    """An actor: being started while it has no place, then free or with a job."""

    actor: Any
    place: Place | None = None
    job: Job | None = None
    future: Future[JobReport] | None = None
    talking: bool = False
    held: set[str] = field(default_factory=set)
    """The artifacts that its jobs have read or made: they may be in its memory."""


class Crew:
    """So many workers, each replaced when it dies.

    One thread hears of everything that happens to them, so that there is an order to it: Ray calls back in a thread of
    its own, in which nothing may take long.

    Args:
        start: starts an actor, and returns its handle at once.
        suits: raises `CompatError` when the run cannot use a place.
        patience: seconds that a run waits while it has no worker at all.
    """

    def __init__(
        self, start: Callable[[], Any], count: int, link: Link, suits: Callable[[Place], None], patience: float
    ) -> None:
        self._start = start
        self._link = link
        self._suits = suits
        self._patience = patience
        self._heard: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._fatal: CompatError | None = None
        self._failed_starts = 0
        self._last_seen = time.monotonic()
        """When there was a worker."""
        self._workers: list[Worker] = []
        for _ in range(count):
            self._hire()
        self._thread = threading.Thread(target=self._listen, daemon=True, name="listens to Ray")
        self._thread.start()

    # -------------------------------------------------------------------------------------------- for the executor

    @property
    def size(self) -> int:
        """How many workers are there. Raises `CompatError` when there will be none."""
        with self._lock:
            if self._fatal is not None:
                raise self._fatal
            there = sum(worker.place is not None for worker in self._workers)
            now = time.monotonic()
            if there:
                self._last_seen = now
            elif now - self._last_seen > self._patience:
                raise CompatError(
                    f"the Ray cluster has started no worker for {self._patience:g} seconds: others may be using it; "
                    "ask for less with --with cpus=… or gpus=…, or wait longer with --with wait=…"
                )
            return there

    def submit(self, job: Job) -> Future[JobReport]:
        """Give a job to a free worker that has its inputs in memory, or is on a node that has them on disk."""
        future: Future[JobReport] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            free = [worker for worker in self._workers if worker.place is not None and worker.job is None]
            if not free:  # one that was free has died since
                future.set_exception(WorkerLost("the worker that was to run it is gone"))
                return future
            worker = max(free, key=partial(self._fitness, job))
            worker.job, worker.future = job, future
            self._call(worker, worker.actor.run.remote(job), self._ended)
        return future

    def close(self, patience: float) -> None:
        """Wait so long for the jobs that run, and end all workers."""
        with self._lock:
            running = [worker.future for worker in self._workers if worker.future is not None]
        wait(running, timeout=patience)
        self._closed.set()
        self._thread.join()
        for worker in self._workers:
            _dismiss(worker)
            self._finish(worker, error=WorkerLost("the run is over"))
        self._workers = []

    def _fitness(self, job: Job, worker: Worker) -> tuple[int, int]:
        assert worker.place is not None
        neighbours = [
            other.held for other in self._workers if other.place is not None and other.place.node == worker.place.node
        ]
        return len(worker.held & job.needs), len(set().union(*neighbours) & job.needs)

    # ---------------------------------------------------------------------------------------------- what happens

    def _call(self, worker: Worker, ref: Any, then: Callable[[Worker, Future[Any]], None]) -> None:
        ref.future().add_done_callback(lambda done: self._heard.put(partial(then, worker, done)))

    def _listen(self) -> None:
        asked = time.monotonic()
        while not self._closed.is_set():
            with suppress(Empty):
                self._heard.get(timeout=TALK_EVERY)()
            if time.monotonic() - asked >= TALK_EVERY:
                asked = time.monotonic()
                self._talk()

    def _talk(self) -> None:
        stopping = self._link.stopping()
        with self._lock:
            for worker in self._workers:
                if worker.job is not None and not worker.talking:
                    worker.talking = True
                    self._call(worker, worker.actor.talk.remote(stopping), self._talked)

    def _talked(self, worker: Worker, done: Future[Progress | None]) -> None:
        worker.talking = False
        if done.exception() is None:  # that it is dead its job says
            self._tell(done.result())

    def _tell(self, progress: Progress | None) -> None:
        if progress is not None:
            self._link.tell(*progress)

    def _hire(self) -> None:
        worker = Worker(self._start())
        self._workers.append(worker)
        self._call(worker, worker.actor.ready.remote(), self._arrived)

    def _arrived(self, worker: Worker, done: Future[Place]) -> None:
        with self._lock:
            error = done.exception()
            if error is None:
                self._failed_starts = 0
                try:
                    self._suits(done.result())
                except CompatError as unsuited:
                    self._fatal = unsuited
                worker.place = done.result()
                return
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                self._fatal = CompatError(
                    f"a node of the Ray cluster cannot start a worker: {_reason(error)}; every node needs the same "
                    "environment, with compat-ray and the plugins of the spec in it"
                )
            self._replace(worker)

    def _ended(self, worker: Worker, done: Future[Reply]) -> None:
        error = done.exception()
        with self._lock:
            if error is None:
                reply = done.result()
                self._tell(reply.progress)
                self._finish(worker, reply.report, reply.error)
            elif isinstance(error, RayError) and not isinstance(error, RayTaskError):
                # replaced before anybody hears of it: who then asks for a worker gets none that is dead
                self._replace(worker)
                self._finish(worker, error=WorkerLost(f"the Ray worker that ran it is gone: {_reason(error)}"))
            else:
                self._finish(worker, error=error)

    def _replace(self, worker: Worker) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
            _dismiss(worker)
            if self._fatal is None:
                self._hire()

    def _finish(self, worker: Worker, report: JobReport | None = None, error: BaseException | None = None) -> None:
        with self._lock:
            future, job = worker.future, worker.job
            worker.future = worker.job = None
        if future is None or job is None:
            return
        worker.held |= job.needs | {job.fingerprint}
        if report is not None:
            future.set_result(report)
        else:
            future.set_exception(error)


def _dismiss(worker: Worker) -> None:
    try:
        ray.kill(worker.actor)
    except (RayError, ValueError):  # it is dead, or the cluster is
        return


def _reason(error: BaseException) -> str:
    """What Ray says, in one line: the last one of what an actor raised, or the first of what happened to it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if "creation task" in lines[0]:
        return lines[-1]
    return lines[0].rstrip(".")
