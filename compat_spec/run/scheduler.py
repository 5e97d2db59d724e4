"""Runs a plan: hands steps to an executor as their inputs become ready, and never loses what is done."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from filelock import BaseFileLock

from compat_spec.components import Executor, Job, JobReport
from compat_spec.errors import CompatError, InterruptedRun, WorkerLost
from compat_spec.plan import Plan, Step, StepKind
from compat_spec.plan.needed import needed_steps
from compat_spec.run.events import Listener, StepFailed, StepFinished, StepRetried, StepStarted, Waiting
from compat_spec.run.graph import Graph
from compat_spec.store import CorruptArtifactError, Store

MENDINGS = 2
"""How often a step waits for inputs that are made again before it is given up: the disk may be at fault."""

LOOK_AHEAD = 16
"""How many steps that had better wait are passed over in the search for another."""

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


class Scheduler:
    """Runs the needed steps of a plan on an executor that is open.

    Args:
        ended: called once for each needed step, with how it ended.
        stopping: whether the run has been told to stop; then nothing new starts.
        pump: called often, for the progress that running steps tell.
        retries: how often a step is tried again when the process that ran it was lost.
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
        retries: int,
    ) -> None:
        self._plan = plan
        self._store = store
        self._executor = executor
        self._ended = ended
        self._listener = listener
        self._stopping = stopping
        self._pump = pump
        self._running: dict[Future[JobReport], tuple[Step, BaseFileLock]] = {}
        self._given_up: set[str] = set()
        """The steps that failed, and those that need one of them."""
        self._told_waiting: set[str] = set()
        self._retries = retries
        self._lost = Counter[str]()
        self._mended = Counter[str]()

    def run(self, needed: list[str]) -> None:
        graph = Graph(self._plan, needed)
        while graph.any_ready or self._running:
            if not self._stopping():
                self._start(graph)
            elif not self._running:
                return
            self._wait(graph)
            self._pump()

    def _start(self, graph: Graph) -> None:
        """Start what can be started; what another run is computing stays ready."""
        held: list[str] = []
        later: list[str] = []
        while len(self._running) < self._executor.capacity:
            fingerprint = graph.pop()
            if fingerprint is None:
                if not later:
                    break
                fingerprint = later.pop(0)
            elif len(later) < LOOK_AHEAD and self._is_visited(fingerprint):
                later.append(fingerprint)
                continue
            step = self._plan.steps[fingerprint]
            if fingerprint in self._given_up:
                continue
            lock = self._store.lock(fingerprint)
            if lock is None:
                held.append(fingerprint)
            elif self._store.has(fingerprint):
                lock.release()
                self._finish(graph, Outcome(step, "reused"))
            else:
                self._listener(StepStarted(step))
                job = Job(fingerprint, step.label, step.to_data(), frozenset(step.needs() | _companions(step)))
                self._running[self._executor.submit(job)] = (step, lock)
        for fingerprint in reversed(later + held):
            graph.push(fingerprint)
        if held and not self._running and held[-1] not in self._told_waiting:
            self._told_waiting.add(held[-1])
            self._listener(Waiting(self._plan.steps[held[-1]]))

    def _is_visited(self, fingerprint: str) -> bool:
        """Whether a process is just measuring the same network on the same tokens, or a sweep that it belongs to.

        It will have both in memory, with the scores of each token; so other steps come first while there are some.
        """
        step = self._plan.steps[fingerprint]
        if step.kind is not StepKind.MEASURE:
            return False
        measuring = [other for other, _ in self._running.values() if other.kind is StepKind.MEASURE]
        return any(
            other.needs() == step.needs() or _companions(other) == _companions(step) != set() for other in measuring
        )

    def _wait(self, graph: Graph) -> None:
        if not self._running:
            if graph.any_ready:  # other runs hold all that is left
                time.sleep(POLL)
            return
        done, _ = wait(self._running, timeout=POLL, return_when=FIRST_COMPLETED)
        for future in done:
            step, lock = self._running.pop(future)
            lock.release()
            self._pump()
            if not self._tried_again(graph, step, future.exception()):
                self._finish(graph, _outcome(step, future))

    def _tried_again(self, graph: Graph, step: Step, error: BaseException | None) -> bool:
        """Whether a step that failed by no fault of its own is to be done once more."""
        if self._stopping():
            return False
        if isinstance(error, WorkerLost) and self._lost[step.fingerprint] < self._retries:
            self._lost[step.fingerprint] += 1
            self._listener(StepRetried(step, str(error)))
            graph.again(step.fingerprint, ())
            return True
        if isinstance(error, CorruptArtifactError) and self._mended[step.fingerprint] < MENDINGS:
            self._mended[step.fingerprint] += 1
            return self._mended_inputs(graph, step, str(error))
        return False

    def _mended_inputs(self, graph: Graph, step: Step, reason: str) -> bool:
        """Whether the inputs of a step that are broken can be made again; they are set aside, and waited for."""
        reads = step.needs() | {other for above in step.needs() for other in _refers(self._store, above)}
        broken = {fingerprint for fingerprint in reads if self._store.verify(fingerprint)}
        if not broken <= self._plan.steps.keys():
            return False
        for fingerprint in broken:
            self._store.set_aside(fingerprint)
        needed = needed_steps(self._plan, self._store, broken)
        if self._given_up.intersection(needed):
            return False
        self._listener(StepRetried(step, f"{reason}; it is made again"))
        graph.add(needed)
        graph.again(step.fingerprint, broken)
        return True

    def _finish(self, graph: Graph, outcome: Outcome) -> None:
        step = outcome.step
        if outcome.status in ("computed", "reused"):
            seconds = outcome.report.seconds if outcome.report else 0.0
            graph.done(step.fingerprint)
            self._ended(outcome)
            self._listener(StepFinished(step, seconds, reused=outcome.status == "reused"))
            return
        self._ended(outcome)
        if outcome.status == "failed":
            self._given_up.add(step.fingerprint)
            self._listener(StepFailed(step, outcome.error or ""))
            for below in graph.below(step.fingerprint):
                if below.fingerprint not in self._given_up:
                    self._given_up.add(below.fingerprint)
                    self._ended(Outcome(below, "skipped", error=f"needs {step.label}"))


def _companions(step: Step) -> set[str]:
    """The networks that a measurement reads at once, when its own is one of a sweep."""
    return {network for network, _ in step.settings.get("together", ())}


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


def _refers(store: Store, fingerprint: str) -> list[str]:
    try:
        return store.refers(fingerprint)
    except CorruptArtifactError:
        return []
