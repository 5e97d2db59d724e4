"""Runs a plan: hands steps to an executor as their inputs become ready, and never loses what is done."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field

from filelock import BaseFileLock

from compat_spec.components import Executor, Job, JobReport
from compat_spec.errors import CompatError, InterruptedRun
from compat_spec.plan import Plan, Step
from compat_spec.run.events import Listener, StepFailed, StepFinished, StepStarted, Waiting
from compat_spec.store import Store

POLL = 0.1
"""Seconds between looks at the terminal's signals, and at what other runs have finished."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one step ended: `computed`, `reused` (another run made it), `failed`, `skipped` or `interrupted`."""

    step: Step
    status: str
    report: JobReport | None = None
    error: str | None = None
    traceback: str | None = None


@dataclass
class _Graph:
    """What is left to do, and what each step still waits for."""

    ready: list[str]
    missing: dict[str, set[str]]
    dependents: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, needed: list[str]) -> _Graph:
        inside = set(needed)
        missing = {fingerprint: plan.steps[fingerprint].needs() & inside for fingerprint in needed}
        graph = cls([], missing)
        for fingerprint, inputs in missing.items():
            for above in inputs:
                graph.dependents.setdefault(above, []).append(fingerprint)
        # a stack: what has just become ready comes first, while its inputs are still open
        graph.ready = [fingerprint for fingerprint in reversed(needed) if not missing[fingerprint]]
        return graph

    def done(self, fingerprint: str) -> None:
        for below in reversed(self.dependents.get(fingerprint, [])):
            self.missing[below].discard(fingerprint)
            if not self.missing[below]:
                self.ready.append(below)

    def below(self, fingerprint: str) -> list[str]:
        """Everything that depends on a step."""
        found: dict[str, None] = {}
        wanted = list(self.dependents.get(fingerprint, []))
        while wanted:
            below = wanted.pop()
            if below not in found:
                found[below] = None
                wanted += self.dependents.get(below, [])
        return list(found)


class Scheduler:
    """Runs the needed steps of a plan on an executor that is open.

    Args:
        ended: called once for each needed step, with how it ended.
        stopping: whether the run has been told to stop; then nothing new starts.
        pump: called often, for the progress that running steps tell.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        executor: Executor,
        *,
        ended: Callable[[Outcome], None],
        listener: Listener,
        stopping: Callable[[], bool],
        pump: Callable[[], None],
    ) -> None:
        self._plan = plan
        self._store = store
        self._executor = executor
        self._ended = ended
        self._listener = listener
        self._stopping = stopping
        self._pump = pump
        self._running: dict[Future[JobReport], tuple[Step, BaseFileLock]] = {}
        self._skipped: set[str] = set()
        self._told_waiting: set[str] = set()

    def run(self, needed: list[str]) -> None:
        graph = _Graph.of(self._plan, needed)
        while graph.ready or self._running:
            if not self._stopping():
                self._start(graph)
            elif not self._running:
                return
            self._wait(graph)
            self._pump()

    def _start(self, graph: _Graph) -> None:
        """Start what can be started; what another run is computing stays in the list."""
        held: list[str] = []
        while graph.ready and len(self._running) < self._executor.capacity:
            fingerprint = graph.ready.pop()
            step = self._plan.steps[fingerprint]
            if fingerprint in self._skipped:
                continue
            lock = self._store.lock(fingerprint)
            if lock is None:
                held.append(fingerprint)
            elif self._store.has(fingerprint):
                lock.release()
                self._finish(graph, Outcome(step, "reused"))
            else:
                self._listener(StepStarted(step))
                future = self._executor.submit(Job(fingerprint, step.label, step.to_data()))
                self._running[future] = (step, lock)
        graph.ready[:0] = held
        if held and not self._running and held[-1] not in self._told_waiting:
            self._told_waiting.add(held[-1])
            self._listener(Waiting(self._plan.steps[held[-1]]))

    def _wait(self, graph: _Graph) -> None:
        if not self._running:
            if graph.ready:  # other runs hold all that is left
                time.sleep(POLL)
            return
        done, _ = wait(self._running, timeout=POLL, return_when=FIRST_COMPLETED)
        for future in done:
            step, lock = self._running.pop(future)
            lock.release()
            self._pump()
            self._finish(graph, _outcome(step, future))

    def _finish(self, graph: _Graph, outcome: Outcome) -> None:
        step = outcome.step
        if outcome.status in ("computed", "reused"):
            seconds = outcome.report.seconds if outcome.report else 0.0
            graph.done(step.fingerprint)
            self._ended(outcome)
            self._listener(StepFinished(step, seconds, reused=outcome.status == "reused"))
            return
        self._ended(outcome)
        if outcome.status == "failed":
            self._listener(StepFailed(step, outcome.error or ""))
            for fingerprint in graph.below(step.fingerprint):
                if fingerprint not in self._skipped:
                    self._skipped.add(fingerprint)
                    self._ended(Outcome(self._plan.steps[fingerprint], "skipped", error=f"needs {step.label}"))


def _outcome(step: Step, future: Future[JobReport]) -> Outcome:
    error = future.exception()
    if error is None:
        return Outcome(step, "computed", report=future.result())
    if isinstance(error, InterruptedRun):
        return Outcome(step, "interrupted", error=str(error))
    if isinstance(error, CompatError):
        return Outcome(step, "failed", error=str(error))
    text = "".join(traceback.format_exception(error))
    return Outcome(step, "failed", error=f"{type(error).__name__}: {error}", traceback=text)
