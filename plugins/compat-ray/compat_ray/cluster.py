"""The cluster that a run joins: where it is, what its nodes have, and how it is left."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from compat_spec.errors import CompatError, UsageError

OBJECT_STORE = 100 * 2**20
"""Bytes of shared memory of a cluster that we start: steps exchange files, and only words go through Ray."""

REACH = 10.0
"""Seconds to reach the address of a cluster."""


class Cluster:
    """The connection to a Ray cluster: the one at an address, one that runs here, or else a new one on this machine.

    Raises:
        CompatError: it cannot be reached.
    """

    def __init__(self, address: str | None) -> None:
        # before the import, which reads them: no reports to Ray's makers, and no word on what Ray will do about GPUs
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self._ray = ray
        self._joined = not ray.is_initialized()
        if self._joined:
            with _signals_kept():
                self._join(address)

    def _join(self, address: str | None) -> None:
        _check(address)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": "compat"}
        try:
            self._ray.init(address=address or "auto", **quiet)
        except ConnectionError as error:
            if address is not None or os.environ.get("RAY_ADDRESS"):
                where = "auto: no Ray cluster runs here" if address == "auto" else f"{address}: {_first_line(error)}"
                raise CompatError(f"--address {where}; start one with ray start --head, or give host:port") from error
            self._ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE, **quiet)
        except (RuntimeError, ValueError, OSError) as error:
            raise CompatError(f"the Ray cluster {address or 'here'} cannot be joined: {_first_line(error)}") from error

    def leave(self) -> None:
        """Let go of the cluster, and end it when it is ours."""
        if self._joined:
            self._joined = False
            self._ray.shutdown()

    def nodes(self) -> list[Mapping[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def has_gpus(self) -> bool:
        return any(node["Resources"].get("GPU", 0) > 0 for node in self.nodes())

    def room(self, need: Mapping[str, float]) -> int:
        """How many workers that need so much the nodes have room for, when nobody else uses them."""
        return sum(_room(node, need) for node in self.nodes())

    def in_words(self) -> str:
        """What the nodes have: `8 CPUs, 1 GPU; 4 CPUs`."""
        return "; ".join(words_of(node["Resources"]) or "nothing" for node in self.nodes())

    def elsewhere(self, need: Mapping[str, float]) -> list[str]:
        """The addresses of nodes on other machines that workers may come to run on."""
        found = {node["NodeManagerAddress"] for node in self.nodes() if _room(node, need)}
        return sorted(found - {self.here()})

    def here(self) -> str:
        """The address of the node that this process is connected to, which is on this machine."""
        own = self._ray.get_runtime_context().get_node_id()
        return str(next(node["NodeManagerAddress"] for node in self._ray.nodes() if node["NodeID"] == own))


def words_of(resources: Mapping[str, float]) -> str:
    """`2 CPUs, 1 GPU, 8.0 GB of memory`."""
    amounts = ((name, resources.get(name)) for name in ("CPU", "GPU"))
    words = [f"{amount:g} {name}{'' if amount == 1 else 's'}" for name, amount in amounts if amount]
    if memory := resources.get("memory"):
        words.append(f"{memory / 1e9:.1f} GB of memory")
    return ", ".join(words)


def _room(node: Mapping[str, Any], need: Mapping[str, float]) -> int:
    return min(int(node["Resources"].get(name, 0) / amount + 1e-6) for name, amount in need.items() if amount)


def _check(address: str | None) -> None:
    """Find out what is wrong with an address at once: Ray takes a minute to say that nobody is there."""
    if address in (None, "auto", "local"):
        return
    assert address is not None
    host, separator, port = address.rpartition(":")
    if "://" in address or not (separator and host and port.isdecimal()):
        raise UsageError(f"--address {address}: write auto, local, or host:port of the head, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH).close()
    except (OSError, OverflowError) as error:
        raise CompatError(f"--address {address}: no Ray cluster can be reached there: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _signals_kept() -> Iterator[None]:
    """What SIGTERM does stays as it is: joining a cluster would make it end the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
