"""Executors: where steps run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from compat_spec.components.component import Component


@dataclass(frozen=True, slots=True)
class Job:
    """One step, ready to run, as plain data that can cross a process or a network.

    `needs` are the artifacts that it reads: a process that has read them before may have them in memory still.
    """

    fingerprint: str
    label: str
    payload: Mapping[str, Any] = field(repr=False)
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class JobReport:
    """How a job went: facts for the `steps` table, among them where it ran."""

    seconds: float
    facts: Mapping[str, Any]


class Link(Protocol):
    """What a running job tells, and hears, wherever it runs."""

    def tell(self, fingerprint: str, done: int, total: int, note: str) -> None:
        """How far the job is, for the user."""

    def stopping(self) -> bool:
        """Whether the run has been told to stop."""


class JobRunner(Protocol):
    """What the engine hands to an executor: runs one job where it is called, on the device that is named.

    It can be pickled; each process that gets it keeps its own networks in memory, for one job at a time.
    """

    @property
    def anywhere(self) -> bool:
        """Whether it runs on any machine; otherwise its store is a folder of this one."""

    def __call__(self, job: Job, device: str, link: Link) -> JobReport: ...


class Executor(Component):
    """Decides where steps run.

    The scheduler calls `open` once, then `submit` for jobs whose inputs are in the store, never more than `capacity`
    at a time, and `close` at the end. A job fails by the exception of its future: `WorkerLost` when it is not to blame.
    """

    namespace = "compat.executors"

    @abstractmethod
    def open(self, runner: JobRunner, devices: Sequence[str], link: Link) -> None:
        """Get ready to run jobs on these devices, at least one."""

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many jobs it runs at once."""

    @abstractmethod
    def submit(self, job: Job) -> Future[JobReport]: ...

    @abstractmethod
    def close(self) -> None:
        """Wait for the jobs that run, which end soon once `link.stopping()`, and let go of everything."""
