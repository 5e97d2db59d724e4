"""Executors that break their contract, each in one way."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from compat_spec.components import Executor, Job, JobReport, JobRunner, Link
from tests.testing.bad.case import Bad


class Silence(Link):
    def tell(self, fingerprint: str, done: int, total: int, note: str) -> None:
        pass

    def stopping(self) -> bool:
        return False


class Good(Executor):
    """Runs each job when it is submitted."""

    _runner: Any = PrivateAttr(default=None)
    _link: Any = PrivateAttr(default=None)

    def open(self, runner: JobRunner, devices: Sequence[str], link: Link) -> None:
        self._runner, self._link = runner, link

    @property
    def capacity(self) -> int:
        return 1

    def submit(self, job: Job) -> Future[JobReport]:
        future: Future[JobReport] = Future()
        try:
            future.set_result(self._runner(job, "cpu", self._link))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        assert self._runner is not None


class Writing(Good):
    """Good, and leaves a file in the working folder."""

    def submit(self, job: Job) -> Future[JobReport]:
        Path("jobs.log").write_text(job.label, "utf-8")
        return super().submit(job)


class NoRoom(Good):
    @property
    def capacity(self) -> int:
        return 0


class Mixing(Good):
    def submit(self, job: Job) -> Future[JobReport]:
        future = super().submit(job)
        if future.exception() is None:
            future = Future()
            future.set_result(JobReport(0.0, {"number": -1}))
        return future


class Swallowing(Good):
    def submit(self, job: Job) -> Future[JobReport]:
        future = super().submit(job)
        if future.exception() is not None:
            future = Future()
            future.set_result(JobReport(0.0, {"number": 0}))
        return future


class Vague(Good):
    def submit(self, job: Job) -> Future[JobReport]:
        future = super().submit(job)
        if future.exception() is not None:
            future = Future()
            future.set_exception(RuntimeError("something went wrong"))
        return future


class Deaf(Good):
    def open(self, runner: JobRunner, devices: Sequence[str], link: Link) -> None:
        super().open(runner, devices, Silence())


class Needy(Good):
    _ran: bool = PrivateAttr(default=False)

    def submit(self, job: Job) -> Future[JobReport]:
        self._ran = True
        return super().submit(job)

    def close(self) -> None:
        if not self._ran:
            raise RuntimeError("no worker was ever started")


BAD = [
    Bad(NoRoom, "has_room", "capacity is 0 once it is open"),
    Bad(Mixing, "runs_jobs", "is that of another"),
    Bad(Swallowing, "passes_on_what_a_job_raises", "its future must have the exception"),
    Bad(Vague, "passes_on_what_a_job_raises", "does not say what went wrong"),
    Bad(Deaf, "passes_on_progress", "pass on link.tell"),
    Bad(Needy, "closes_when_nothing_ran", "no worker was ever started"),
]
