"""A real cluster of two nodes on this machine, each with a cache of its own for the artifacts of a store."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # as tests/conftest.py does, and for the nodes, too
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  (by default workers give way to all else that runs)

ROOT = Path(__file__).parents[3]
SMALL = {"object_store_memory": 80 * 2**20, "num_cpus": 1, "memory": 2**30}


@dataclass
class Nodes:
    """The nodes of a cluster by name, with the folders of their caches."""

    cluster: Any
    caches: Path
    by_name: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self, name: str, **more: Any) -> None:
        environment = {"COMPAT_CACHE": str(self.cache(name)), "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        self.by_name[name] = self.cluster.add_node(env_vars=environment, **{**SMALL, **more})

    def remove(self, name: str) -> None:
        """End a node at once, as a machine that fails."""
        self.cluster.remove_node(self.by_name.pop(name), allow_graceful=False)

    def cache(self, name: str) -> Path:
        return self.caches / name


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A head without room for steps, and the nodes `a` and `b` with room for one each."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    found = Nodes(cluster, tmp_path_factory.mktemp("caches"))
    try:
        cluster.add_node(include_dashboard=False, **{**SMALL, "num_cpus": 0})
        found.add("a")
        found.add("b")
        yield found
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def more_nodes(nodes: Nodes) -> Iterator[Callable[..., None]]:
    """Adds nodes, which are gone after the test."""
    before = set(nodes.by_name)
    yield nodes.add
    for name in set(nodes.by_name) - before:
        nodes.remove(name)


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("ray").setLevel(logging.ERROR)
