"""Runs a whole plan: what the store has is taken from there, the rest is computed, and all of it is recorded."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from threading import Event as Flag

from compat_spec import registry
from compat_spec.components import Executor, Sink
from compat_spec.errors import InterruptedRun
from compat_spec.plan import Plan, Step
from compat_spec.plan.gathering import gathered
from compat_spec.plan.needed import needed_steps
from compat_spec.results import FinalStatus, ModelRow, Results, ResultsError, RunInfo, RunWriter, TaskRow
from compat_spec.run.devices import names_of, resolve_devices
from compat_spec.run.events import Event, Listener, Notice, RunStarted, StepProgress, Stopping
from compat_spec.run.provenance import commit_of, versions
from compat_spec.run.recording import Recorder
from compat_spec.run.runner import StepRunner
from compat_spec.run.scheduler import Outcome, Scheduler
from compat_spec.run.signals import stop_signal
from compat_spec.run.sinks import Sinks, check_all
from compat_spec.run.telling import beginning
from compat_spec.store import CorruptArtifactError, Store


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that failed, and why."""

    step: Step
    error: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run ended.

    Attributes:
        run_id: its public id in the results.
        computed: how many steps it computed.
        reused: how many it found in the store, those included that another run made meanwhile.
        failed: the steps that failed.
        skipped: how many were left out because they need one that failed.
        left: how many were not begun, or not ended, because the run was told to stop.
    """

    run_id: str
    computed: int
    reused: int
    failed: tuple[Failure, ...]
    skipped: int
    left: int
    seconds: float

    @property
    def exit_status(self) -> int:
        """0: all is done; 1: a step failed; 130: told to stop."""
        if self.left:
            return InterruptedRun.exit_status
        return 1 if self.failed else 0


def run_plan(
    plan: Plan,
    store: Store,
    results: Results,
    executor: Executor,
    *,
    devices: str = "auto",
    retries: int = 2,
    listener: Listener | None = None,
    checkpoint_every: float = 60.0,
    command: str = "",
    sinks: Sequence[Sink] = (),
) -> RunSummary:
    """Compute what the store lacks, and record every step and number of the plan as one run.

    A step that fails takes down what depends on it and nothing else. Ctrl-C and SIGTERM end the run where nothing is
    lost: the next one goes on from there.

    Args:
        devices: `auto`, or one or several of `cpu`, `cuda`, `cuda:1`, `mps` with commas between.
        retries: how often a step is tried again when the process that ran it was lost.
        listener: is told what goes on, in the thread of the caller.
        checkpoint_every: seconds between the checkpoints of a training.
        command: what the user typed, for the results.
        sinks: what else gets what is recorded, as it is recorded. One that fails is left out, and the listener told.

    Raises:
        UsageError: the device is not there.
        CompatError: the store or the results cannot be written. What is done stays done. Or a sink cannot take a run:
            then nothing is done.
        KeyboardInterrupt: Ctrl-C came a second time. Nothing waits for the steps that were running.
    """
    check_all(sinks)
    events: SimpleQueue[Event] = SimpleQueue()
    with store.in_use(plan.steps), stop_signal(told=lambda: events.put(Stopping())) as stop:
        running = _Run(plan, store, executor, devices, listener or _nobody, events, stop, sinks)
        with _recorded(results, _info(plan, running.devices, executor, command), running) as writer:
            running.go(writer, checkpoint_every, retries)
    return running.summary(writer.id)


class _Run:
    """A run under way."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        executor: Executor,
        devices: str,
        listener: Listener,
        events: SimpleQueue[Event],
        stop: Flag,
        sinks: Sequence[Sink],
    ) -> None:
        self.plan, self.store, self.executor = plan, store, executor
        self.listener, self.events, self.stop = listener, events, stop
        self.started = time.monotonic()
        self.over: float | None = None
        """When everything was done but for what sinks had still to take."""
        self._set_broken_aside()
        self.needed = needed_steps(plan, store)
        self.plan = gathered(plan, self.needed)
        needed = set(self.needed)
        self.found = [step for step in plan.steps if step not in needed and store.has(step)]
        # where nothing is to be computed, there is no need to ask torch for its devices, which takes seconds
        checked = resolve_devices(devices) if self.needed or devices != "auto" else []
        self.devices = checked if self.needed else []
        self.ended: list[Outcome] = []
        self.sinks = Sinks(sinks, lambda text: events.put(Notice(text)))

    def _set_broken_aside(self) -> None:
        """Of what is found, check what no step will: manifests, and the small files that are read as rows."""
        for fingerprint in filter(self.store.has, self.plan.steps):
            check = self.store.check if fingerprint in self.plan.measurements else self.store.manifest
            try:
                check(fingerprint)
            except CorruptArtifactError:
                self.store.set_aside(fingerprint)

    def go(self, writer: RunWriter, checkpoint_every: float, retries: int) -> None:
        work = sum(self.plan.steps[fingerprint].work for fingerprint in self.needed)
        total = len(self.found) + len(self.needed)
        self.listener(RunStarted(total, len(self.found), names_of(self.devices), work))
        for fingerprint in self.found:
            self.store.touch(fingerprint)
        recorder = Recorder(self.plan, self.store, writer, self.sinks)
        recorder.found(self.found)
        if not self.needed:
            return
        self.executor.open(StepRunner(self.store, checkpoint_every), self.devices, _Link(self.events, self.stop))
        try:
            self._schedule(recorder, retries)
        except Exception:
            self.stop.set()  # so that a step that is running ends soon
            self.executor.close()
            raise
        self.executor.close()

    def _schedule(self, recorder: Recorder, retries: int) -> None:
        def ended(outcome: Outcome) -> None:
            recorder.ended(outcome)
            self.ended.append(outcome)

        scheduler = Scheduler(
            self.plan,
            self.store,
            self.executor,
            ended=ended,
            listener=self.listener,
            stopping=self.stop.is_set,
            pump=self._pass_on,
            retries=retries,
        )
        scheduler.run(self.needed)

    def begin_sinks(self, run_id: str, info: RunInfo) -> None:
        roles = {model.name: model.role for model in info.models}
        tasks = [task.name for task in info.tasks]
        self.sinks.tell([beginning(run_id, info, roles, tasks, datetime.now(UTC))])

    def end_sinks(self, status: FinalStatus, error: str | None = None) -> None:
        self.over = time.monotonic()
        self.sinks.end(status, error, self.stop.is_set, self._pass_on)

    def _pass_on(self) -> None:
        """Tell the user what steps and signals have told since the last time."""
        while not self.events.empty():
            self.listener(self.events.get())

    def summary(self, run_id: str) -> RunSummary:
        count = Counter(outcome.status for outcome in self.ended)
        failed = tuple(Failure(one.step, one.error or "") for one in self.ended if one.status == "failed")
        done = {one.step.fingerprint for one in self.ended if one.status != "interrupted"}
        return RunSummary(
            run_id=run_id,
            computed=count["computed"],
            # what was found to be broken later was made again
            reused=sum(fingerprint not in done for fingerprint in self.found) + count["reused"],
            failed=failed,
            skipped=count["skipped"],
            left=len(set(self.needed) - done),
            seconds=(self.over or time.monotonic()) - self.started,
        )


class _Link:
    """The `Link` of the jobs of a run, in the process of the scheduler."""

    def __init__(self, events: SimpleQueue[Event], stop: Flag) -> None:
        self._events = events
        self._stop = stop

    def tell(self, fingerprint: str, done: int, total: int, note: str) -> None:
        self._events.put(StepProgress(fingerprint, done, total, note))

    def stopping(self) -> bool:
        return self._stop.is_set()


@contextmanager
def _recorded(results: Results, info: RunInfo, running: _Run) -> Iterator[RunWriter]:
    """The writer of the run's rows; at the end, how it ended is written, too."""
    writer = results.start_run(info)
    running.begin_sinks(writer.id, info)
    try:
        yield writer
    except BaseException as error:
        with suppress(ResultsError):  # that the database is gone is what `error` says
            if isinstance(error, Exception):
                writer.finish("failed", str(error))
            else:
                writer.finish("interrupted")
        if isinstance(error, Exception):
            running.end_sinks("failed", str(error))
        raise
    summary = running.summary(writer.id)
    status: FinalStatus = "interrupted" if summary.left else "failed" if summary.failed else "finished"
    writer.finish(status)
    running.end_sinks(status)


def _info(plan: Plan, devices: Sequence[str], executor: Executor, command: str) -> RunInfo:
    return RunInfo(
        experiment=plan.experiment,
        spec_text=plan.spec_text,
        spec_path=plan.spec_path,
        command=command,
        versions=versions(plan.steps.values()),
        commit=commit_of(Path(plan.spec_path)),
        host=socket.gethostname(),
        device=names_of(devices),
        executor=registry.name_of(type(executor)),
        parameters=plan.parameters,
        models=[
            ModelRow(
                name=model.name,
                role=model.role,
                use=model.use,
                parent=model.parent,
                experts=model.experts,
                parameters=model.parameters,
            )
            for model in plan.models
        ],
        tasks=[
            TaskRow(name=task.name, use=task.use, parameters=task.parameters, fingerprint=task.fingerprint)
            for task in plan.tasks
        ],
    )


def _nobody(_: Event) -> None:
    """Hears nothing."""
