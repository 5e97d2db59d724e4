"""What runs on a node of the cluster: an actor that does one step at a time, and talks while it does."""

from __future__ import annotations

import os
import pickle
import threading
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TypeAlias

import ray

from compat_spec.components import Job, JobReport
from compat_spec.errors import portable

Progress: TypeAlias = tuple[str, int, int, str]
"""A fingerprint, how much is done, of how much, and a note."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an actor runs."""

    node: str
    address: str
    pid: int
    device: str
    version: str
    """Of compat-spec."""


@dataclass(frozen=True, slots=True)
class Reply:
    """How a job went: a report or an error, and the last that it told."""

    report: JobReport | None
    error: BaseException | None
    progress: Progress | None


class StepActor:
    """Runs jobs one at a time, and keeps the networks that they open.

    The driver asks a running job how far it is, and says in the same call whether to stop: `talk` has a thread of its
    own for that, by a concurrency group. The other way round, an actor that jobs report to, would be one more process
    that can die, and all jobs would have to ask it.

    Args:
        runner: a pickled `JobRunner`: what it imports reads the environment, which is set first.
        threads: that torch may use.
    """

    def __init__(self, runner: bytes, threads: int) -> None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see compat_spec.cli.main
        import torch

        torch.set_num_threads(threads)
        self._runner = pickle.loads(runner)
        self._device = "cuda:0" if ray.get_gpu_ids() else "cpu"
        self._link = _Link()

    def ready(self) -> Place:
        context = ray.get_runtime_context()
        return Place(
            node=context.get_node_id(),
            address=ray.util.get_node_ip_address(),
            pid=os.getpid(),
            device=self._device,
            version=version("compat-spec"),
        )

    def run(self, job: Job) -> Reply:
        try:
            report = self._runner(job, self._device, self._link)
        except BaseException as error:
            return Reply(None, portable(error), self._link.news())
        facts = {**report.facts, "ray_node": ray.get_runtime_context().get_node_id()}
        return Reply(replace(report, facts=facts), None, self._link.news())

    @ray.method(concurrency_group="talk")
    def talk(self, stopping: bool) -> Progress | None:
        if stopping:
            self._link.stop()
        return self._link.news()


class _Link:
    """The `Link` of the jobs of an actor."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._news: Progress | None = None

    def tell(self, fingerprint: str, done: int, total: int, note: str) -> None:
        self._news = (fingerprint, done, total, note)

    def stopping(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        self._stop.set()

    def news(self) -> Progress | None:
        """The last that was told, unless it was asked for before."""
        news, self._news = self._news, None
        return news
