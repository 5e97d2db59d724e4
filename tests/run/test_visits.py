"""The measurements of one network on one task follow one another where the network is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import pytest
from pydantic import PrivateAttr

from compat_spec.components import Executor, Job, JobReport, JobRunner, Link
from compat_spec.plan import StepKind
from compat_spec.plan.gathering import gathered
from compat_spec.run.scheduler import LOOK_AHEAD, Outcome, Scheduler
from tests.run.experiments import Workplace


class OneByOne(Executor):
    """Ends the job that came first when it has no room for more, and when nothing more is handed over."""

    room: int = 2
    _jobs: list[tuple[Job, Future[JobReport]]] = PrivateAttr(default_factory=list)
    _together: list[list[Job]] = PrivateAttr(default_factory=list)
    _asked: int = PrivateAttr(default=0)

    def open(self, runner: JobRunner, devices: Sequence[str], link: Link) -> None:
        """Nothing is run."""

    @property
    def capacity(self) -> int:
        return self.room

    def submit(self, job: Job) -> Future[JobReport]:
        self._jobs.append((job, Future()))
        self._together.append([job for job, _ in self._jobs])
        self._asked = 0
        future = self._jobs[-1][1]
        if len(self._jobs) == self.room:
            self._end_one()
        return future

    def close(self) -> None:
        """Nothing is open."""

    def pump(self) -> None:
        """Is called twice for each job that has ended, and then only while nothing more is handed over."""
        self._asked += 1
        if self._asked > 2 and self._jobs:
            self._end_one()

    def _end_one(self) -> None:
        _, future = self._jobs.pop(0)
        future.set_result(JobReport(0.0, {}))


def pairs(place: Workplace, *overrides: str) -> Iterator[tuple[Job, Job]]:
    """The measurements that were under way at once, when all there is to do is to merge and to measure."""
    plan = place.plan(*overrides)
    needed = [step.fingerprint for step in plan.steps.values() if step.kind in (StepKind.MERGE, StepKind.MEASURE)]
    plan = gathered(plan, needed)
    executor = OneByOne()
    scheduler = Scheduler(
        plan,
        place.store,
        executor,
        ended=lambda outcome: ended.append(outcome),
        listener=lambda _: None,
        stopping=lambda: False,
        pump=executor.pump,
        retries=0,
    )
    ended: list[Outcome] = []
    scheduler.run(needed)
    assert sorted(outcome.step.fingerprint for outcome in ended) == sorted(needed)
    for jobs in executor._together:
        if len(jobs) == 2 and all(job.payload["kind"] == StepKind.MEASURE for job in jobs):
            yield jobs[0], jobs[1]


def test_no_two_processes_open_one_network_while_there_is_another(place: Workplace) -> None:
    found = list(pairs(place))
    assert len(found) > 10
    shared = [pair for pair in found if pair[0].needs == pair[1].needs]
    assert shared in ([], found[-1:]), "only when nothing else is left"


@pytest.mark.parametrize("count", [3, 3 * LOOK_AHEAD])
def test_many_measurements_of_one_network_are_spread_when_there_is_nothing_else(place: Workplace, count: int) -> None:
    place.spec.write_text(
        place.spec.read_text().split("merges:")[0]
        + "metrics:\n"
        + "".join(f"  m{i}: {{use: cross_entropy, on: program, of: base, tokens: {64 + i}}}\n" for i in range(count))
    )
    assert len(list(pairs(place))) == count - 1


def test_no_two_processes_read_one_sweep_while_there_is_something_else(place: Workplace) -> None:
    found = list(pairs(place, "merges.blend.alpha={sweep: {from: 0, to: 1, num: 12}}"))
    sweeps = [[str(job.payload["settings"].get("together", job.fingerprint)) for job in pair] for pair in found]
    assert len({sweep for pair in sweeps for sweep in pair}) > 8
    together = [number for number, (one, other) in enumerate(sweeps) if one == other]
    assert together == list(range(len(sweeps) - len(together), len(sweeps))), "only when nothing else is left"
