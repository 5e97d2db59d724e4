"""The executor `ray`."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from concurrent.futures import Future
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic import ByteSize, Field, PrivateAttr

from compat_spec.components import Executor, Job, JobReport, JobRunner, Link
from compat_spec.errors import CompatError, UsageError

if TYPE_CHECKING:
    from compat_ray.actor import Place
    from compat_ray.cluster import Cluster
    from compat_ray.crew import Crew

PATIENCE = 15.0
"""Seconds that running steps have to end, when they are told to."""

LOOK_EVERY = 0.1
"""Seconds between looks at whether the first worker is there."""


class Ray(Executor):
    """Workers on the nodes of a Ray cluster, as many as there is room for; each does one step at a time.

    A step goes to a worker that has read its inputs before. On several machines it needs a store at a URL (`--store`).
    The cluster's resources decide on what steps compute, not `--device`.
    """

    address: str | None = Field(
        default=None,
        description="Where the cluster is: host:port of its head node, `auto` for one that runs here, `local` for a "
        "new one on this machine. By default one that runs here, or else a new one.",
    )
    workers: int | None = Field(
        default=None, ge=1, description="How many workers; by default as many as the nodes have room for."
    )
    cpus: float = Field(default=1.0, gt=0, description="CPUs for each worker; torch uses as many threads.")
    gpus: float | None = Field(
        default=None,
        ge=0,
        description="GPUs for each worker, 0.5 for two workers on one; by default 1 where the cluster has any. With 0, "
        "steps run on the CPU.",
    )
    memory: ByteSize | None = Field(default=None, description="Memory to reserve for each worker, such as 8GB.")
    wait: float = Field(default=300.0, gt=0, description="Seconds to wait while the cluster gives no worker at all.")

    _cluster: Cluster | None = PrivateAttr(default=None)
    _crew: Crew | None = PrivateAttr(default=None)

    def open(self, runner: JobRunner, devices: Sequence[str], link: Link) -> None:
        from compat_ray.cluster import Cluster

        self._cluster = Cluster(self.address)
        try:
            self._crew = self._hire(self._cluster, runner, link)
            while not self._crew.size and not link.stopping():
                time.sleep(LOOK_EVERY)
        except BaseException:
            self._let_go(0.0)
            raise

    @property
    def capacity(self) -> int:
        return self._crew.size if self._crew else 0

    def submit(self, job: Job) -> Future[JobReport]:
        if self._crew is None:
            raise RuntimeError("submit was called before open")
        return self._crew.submit(job)

    def close(self) -> None:
        self._let_go(PATIENCE)

    def _let_go(self, patience: float) -> None:
        crew, cluster = self._crew, self._cluster
        self._crew = self._cluster = None
        try:
            if crew is not None:
                crew.close(patience)
        finally:
            if cluster is not None:
                cluster.leave()

    def _hire(self, cluster: Cluster, runner: JobRunner, link: Link) -> Crew:
        import ray

        from compat_ray.actor import StepActor
        from compat_ray.cluster import words_of
        from compat_ray.crew import Crew

        gpus = self.gpus if self.gpus is not None else float(cluster.has_gpus())
        need = {"CPU": self.cpus, "GPU": gpus, "memory": float(self.memory or 0)}
        count = self.workers or cluster.room(need)
        if not count:
            raise CompatError(
                f"no node of the Ray cluster has room for a worker with {words_of(need)}: they have "
                f"{cluster.in_words()}; ask for less with --with cpus=…, gpus=… or memory=…"
            )
        if not runner.anywhere:
            _refuse(cluster.elsewhere(need))
        here, ours = cluster.here(), version("compat-spec")

        def suits(place: Place) -> None:
            if not runner.anywhere and place.address != here:  # a node that came later
                _refuse([place.address])
            if place.version != ours:
                raise CompatError(
                    f"the node {place.address} of the Ray cluster has compat-spec {place.version}, this one has {ours}"
                )

        # it dies for good: who replaces it is the crew, and who tries a step again is the scheduler
        options: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
        options |= {"num_cpus": self.cpus, "num_gpus": gpus, "memory": int(self.memory) if self.memory else None}
        remote: Any = ray.remote  # its types know nothing of concurrency groups
        actor = remote(concurrency_groups={"talk": 1}, **options)(StepActor)
        carried, threads = pickle.dumps(runner), max(1, int(self.cpus))
        return Crew(lambda: actor.remote(carried, threads), count, link, suits, self.wait)


def _refuse(addresses: Sequence[str]) -> None:
    if addresses:
        raise UsageError(
            f"the Ray cluster has nodes on other machines ({', '.join(addresses)}), which cannot reach the store in a "
            "folder of this one: use --store URL, such as s3://bucket/folder, or file:///folder for one that all mount"
        )
