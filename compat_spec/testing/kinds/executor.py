"""Checks of executors: a few jobs of the kit's own, one of which fails."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from compat_spec.components import Executor, Job, JobReport, Link
from compat_spec.testing.checks import Checks, demand
from compat_spec.testing.empty_folder import in_empty_folder
from compat_spec.testing.subject import Subject

check = Checks(Executor)

JOBS = 5
FAILING = 2
PATIENCE = 120.0
"""Seconds to wait for a job that does nothing."""

MESSAGE = "this job was made to fail"


class JobThatFails(RuntimeError):  # noqa: N818
    """What the failing job raises."""


@dataclass(frozen=True)
class Runner:
    """The `JobRunner` of the kit's jobs. It can be pickled, as the engine's can."""

    anywhere: bool = True

    def __call__(self, job: Job, device: str, link: Link) -> JobReport:
        link.tell(job.fingerprint, 1, 1, "done")
        if job.payload["fails"]:
            raise JobThatFails(MESSAGE)
        return JobReport(seconds=0.0, facts={"number": job.payload["number"], "device": device})


@dataclass
class HeardLink:
    """A `Link` that remembers what it was told."""

    heard: list[tuple[str, int, int, str]] = field(default_factory=list)
    _lock: Any = field(default_factory=Lock)

    def tell(self, fingerprint: str, done: int, total: int, note: str) -> None:
        with self._lock:
            self.heard.append((fingerprint, done, total, note))

    def stopping(self) -> bool:
        return False


@dataclass
class Scenario:
    """What happened when a few jobs were run."""

    capacity: int
    reports: dict[int, JobReport]
    errors: dict[int, BaseException]
    heard: list[tuple[str, int, int, str]]
    closed: bool


def _job(number: int) -> Job:
    payload = {"number": number, "fails": number == FAILING}
    return Job(fingerprint=f"{number:064x}", label=f"job {number}", payload=payload)


def _run(subject: Subject) -> Scenario:
    """Run the jobs as the scheduler does, never more than there is room for."""
    executor, link = subject.make(), HeardLink()
    executor.open(Runner(), ["cpu"], link)
    reports: dict[int, JobReport] = {}
    errors: dict[int, BaseException] = {}
    try:
        capacity = executor.capacity
        running: dict[int, Future[JobReport]] = {}
        for number in range(JOBS):
            _wait(running, max(1, executor.capacity) - 1, reports, errors)
            running[number] = executor.submit(_job(number))
        _wait(running, 0, reports, errors)
    finally:
        executor.close()
    return Scenario(capacity, reports, errors, link.heard, closed=True)


def _wait(
    running: dict[int, Future[JobReport]],
    at_most: int,
    reports: dict[int, JobReport],
    errors: dict[int, BaseException],
) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(running) > at_most:
        for number, future in list(running.items()):
            if future.done():
                error = future.exception()
                if error is None:
                    reports[number] = future.result()
                else:
                    errors[number] = error
                del running[number]
        demand(time.monotonic() < deadline, f"Jobs that do nothing have not ended after {PATIENCE:.0f} seconds.")
        time.sleep(0.001)


def _scenario(subject: Subject) -> Scenario:
    def run() -> Scenario:
        with in_empty_folder():
            return _run(subject)

    return subject.once("scenario", run)


@check
def has_room(subject: Subject) -> None:
    """Once it is open, it has room for at least one job."""
    capacity = _scenario(subject).capacity
    demand(isinstance(capacity, int) and capacity >= 1, f"capacity is {capacity!r} once it is open.")


@check
def runs_jobs(subject: Subject) -> None:
    """Every job is run, and its future has the report that the runner returned."""
    done = _scenario(subject)
    for number in range(JOBS):
        if number == FAILING:
            continue
        demand(number in done.reports, f"Job {number} failed: {done.errors.get(number)!r}.")
        demand(
            done.reports[number].facts.get("number") == number,
            f"The report of job {number} is that of another: {done.reports[number]}.",
        )


@check
def passes_on_what_a_job_raises(subject: Subject) -> None:
    """A job fails by the exception of its future, with its message, and the next ones run."""
    done = _scenario(subject)
    demand(FAILING in done.errors, "A job that raised has a report: its future must have the exception.")
    found = str(done.errors[FAILING])
    demand(MESSAGE in found, f"The exception of a failed job does not say what went wrong: {found!r}, not {MESSAGE!r}.")
    after = [number for number in range(FAILING + 1, JOBS) if number not in done.reports]
    demand(not after, f"After a job failed, {after} did not run.")


@check
def passes_on_progress(subject: Subject) -> None:
    """What jobs tell of their progress reaches the link."""
    told = {fingerprint for fingerprint, *_ in _scenario(subject).heard}
    silent = [number for number in range(JOBS) if _job(number).fingerprint not in told]
    demand(not silent, f"What the jobs {silent} told of their progress never came: pass on link.tell.")


@check
def closes_when_nothing_ran(subject: Subject) -> None:
    """It can be opened and closed again without a job."""
    with in_empty_folder():
        executor = subject.make()
        executor.open(Runner(), ["cpu"], HeardLink())
        executor.close()
