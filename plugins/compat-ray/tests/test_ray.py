"""Runs on a cluster of two nodes: the numbers of one process, whatever happens to workers and nodes."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import ByteSize

from compat_ray.executor import Ray
from compat_spec.cli.executors import make_executor
from compat_spec.errors import CompatError, UsageError
from compat_spec.run import RunSummary
from compat_spec.run.events import Event, StepProgress, StepRetried, StepStarted
from compat_spec.store import SharedStore, Store
from tests.run.experiments import Workplace
from tests.run.test_resuming import LONG, numbers

ray = pytest.importorskip("ray", reason="RAY IS NOT INSTALLED: NOTHING OF compat-ray IS TESTED")
pytestmark = pytest.mark.xdist_group("ray")

SHORT = ("merges.blend.at=3", "metrics.cka.at=3")


@dataclass
class Site(Workplace):
    """A place whose store is at a URL; what it has of it lies in a cache of its own."""

    @property
    def url(self) -> str:
        return f"file://{self.folder}/shared"

    @property
    def store(self) -> Store:
        return SharedStore(self.url)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("COMPAT_CACHE", str(tmp_path / "driver"))
    return Site(tmp_path)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """The numbers of the experiment with the long training, run in this process."""
    place = Workplace(tmp_path_factory.mktemp("inline"))
    return numbers(place, place.run(*LONG).run_id)


def ray_nodes(place: Workplace, run: str) -> set[str]:
    """The nodes that computed the steps of a run."""
    with sqlite3.connect(place.folder / "results.db") as results:
        rows = results.execute(
            "SELECT DISTINCT json_extract(facts, '$.ray_node') FROM steps JOIN runs USING (run_id) "
            "WHERE runs.id = ? AND steps.status = 'computed'",
            (run,),
        ).fetchall()
    return {node for (node,) in rows}


class AtTraining:
    """A listener that does something once, when the long training is under way."""

    def __init__(self, act: Callable[[], None], after: int = 20) -> None:
        self._act = act
        self._after = after
        self.done = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepProgress) and event.total == 400 and event.done > self._after and not self.done:
            self.done = True
            self._act()


def workers_pids() -> list[int]:
    """The processes of actors, of this machine."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::StepActor"):
            found.append(int(folder.name))
    return found


def nobody_is_left() -> bool:
    deadline = time.monotonic() + 30
    while workers_pids():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def check(site: Site, summary: RunSummary, expected: list[tuple[object, ...]]) -> None:
    assert summary.exit_status == 0, summary.failed
    assert numbers(site, summary.run_id) == expected
    assert site.rows("SELECT executor FROM runs") == [("compat-ray:ray",)]
    assert nobody_is_left()
    assert not ray.is_initialized()


def test_two_nodes_give_the_numbers_of_one_process(nodes: Any, site: Site, expected: list[tuple[object, ...]]) -> None:
    summary = site.run(*LONG, executor=Ray(address=nodes.address, gpus=0))
    check(site, summary, expected)
    assert len(ray_nodes(site, summary.run_id)) == 2
    told = [event.done for event in site.events if isinstance(event, StepProgress) and event.total == 400]
    assert len(told) > 2
    assert told == sorted(told)
    for name in ("a", "b"):
        (cache,) = (nodes.cache(name) / "stores").glob("*")
        assert 0 < len(list((cache / "artifacts").glob("*/*"))) < summary.computed + 1, "each has what it made and read"
    store = site.store
    assert all(not store.verify(fingerprint) for fingerprint in store)
    again = site.run(*LONG)
    assert (again.computed, again.reused) == (0, summary.computed)


def test_a_worker_that_is_killed_is_replaced_and_its_training_goes_on(
    nodes: Any, site: Site, expected: list[tuple[object, ...]]
) -> None:
    def kill() -> None:
        for pid in workers_pids():
            os.kill(pid, signal.SIGKILL)

    listener = AtTraining(kill)
    # all are killed: the first time that it is tried again, it may meet another whose end is not known yet
    summary = site.run(
        *LONG, executor=Ray(address=nodes.address, gpus=0), listener=listener, checkpoint_every=0, retries=2
    )
    assert listener.done
    check(site, summary, expected)
    retried = [event for event in site.events if isinstance(event, StepRetried)]
    assert "train one" in {event.step.label for event in retried}
    assert all("the Ray worker that ran it is gone" in event.reason for event in retried)
    progress = [event.done for event in site.events if isinstance(event, StepProgress) and event.total == 400]
    assert min(progress[next(i for i, done in enumerate(progress) if done > 20) + 1 :]) > 1, "it began anew"


def test_a_node_that_fails_takes_nothing_with_it(
    nodes: Any, more_nodes: Callable[..., None], site: Site, expected: list[tuple[object, ...]]
) -> None:
    """All steps run on a third node until it fails in the middle of a training; the state of that is at the URL."""
    large = {"memory": 4 * 2**30}
    more_nodes("c", **large)

    def fail() -> None:
        nodes.remove("c")

    listener = AtTraining(fail)
    # only `c` has so much memory to give; the node that replaces it comes when it is gone
    executor = Ray(address=nodes.address, gpus=0, memory=ByteSize(2 * 2**30), workers=1)

    def hear(event: Event) -> None:
        listener(event)
        if isinstance(event, StepRetried):
            more_nodes("d", **large)

    summary = site.run(*LONG, executor=executor, listener=hear, checkpoint_every=0, retries=1)
    assert listener.done
    check(site, summary, expected)
    assert len(ray_nodes(site, summary.run_id)) == 2
    (retried,) = (event for event in site.events if isinstance(event, StepRetried))
    assert retried.step.label == "train one"


def test_a_run_that_is_stopped_ends_soon_and_goes_on_later(
    nodes: Any, site: Site, expected: list[tuple[object, ...]]
) -> None:
    listener = AtTraining(lambda: os.kill(os.getpid(), signal.SIGINT))
    executor = Ray(address=nodes.address, gpus=0)
    summary = site.run(*LONG, executor=executor, listener=listener)
    assert summary.exit_status == 130
    assert summary.left
    assert nobody_is_left()
    training = site.fingerprint("train one", *LONG)
    assert (site.folder / "shared" / "work" / training / "work.json").exists()
    again = site.run(*LONG)
    assert again.exit_status == 0, again.failed
    told = [event.done for event in site.events if isinstance(event, StepProgress) and event.fingerprint == training]
    assert told[0] > 20
    assert numbers(site, again.run_id) == expected


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
def test_workers_end_with_their_driver(nodes: Any, site: Site, how: signal.Signals) -> None:
    overrides = [argument for override in LONG for argument in ("--set", override)]
    where = ["--executor", "ray", "--address", nodes.address, "--with", "gpus=0", "--store", site.url]
    process = site.start("run", str(site.spec), "--device", "cpu", "--checkpoint-every", "0", *where, *overrides)
    saved = site.folder / "shared" / "work" / site.fingerprint("train one", *LONG) / "work.json"
    deadline = time.monotonic() + 240
    while not saved.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert workers_pids()
    process.send_signal(how)
    out, err = process.communicate(timeout=120)
    assert nobody_is_left()
    assert "Traceback" not in err
    if how == signal.SIGTERM:
        assert process.returncode == 130, err
        assert err == ""
        assert "the same command goes on from here" in out


def test_an_error_on_a_node_keeps_its_words(nodes: Any, site: Site) -> None:
    summary = site.run(
        *SHORT,
        "metrics.loss.split=validation",
        executor=Ray(address=nodes.address, gpus=0),
    )
    assert summary.exit_status == 1
    errors = {failure.error for failure in summary.failed}
    assert errors == {"the task has no split 'validation'; it has test, train"}


# ---------------------------------------------------------------------------------------------------------- mistakes


def test_a_folder_is_no_store_for_several_machines(nodes: Any, more_nodes: Callable[..., None], tmp_path: Path) -> None:
    more_nodes("far", node_ip_address="127.0.0.2")
    place = Workplace(tmp_path)
    with pytest.raises(UsageError, match=r"nodes on other machines \(127\.0\.0\.2\).*use --store URL") as raised:
        place.run(executor=Ray(address=nodes.address, gpus=0))
    assert raised.value.exit_status == 2
    assert not ray.is_initialized()


def test_a_step_that_no_node_has_room_for(nodes: Any, site: Site) -> None:
    with pytest.raises(CompatError, match=r"no node of the Ray cluster has room for a worker with 64 CPUs: they have"):
        site.run(executor=Ray(address=nodes.address, cpus=64, gpus=0))
    assert not ray.is_initialized()


def test_a_cluster_that_gives_nothing_is_not_waited_for_for_ever(nodes: Any, site: Site) -> None:
    with pytest.raises(CompatError, match=r"has started no worker for 0\.5 seconds"):
        site.run(executor=Ray(address=nodes.address, cpus=64, gpus=0, workers=1, wait=0.5))
    assert site.rows("SELECT status FROM runs") == [("failed",)]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "--address 127.0.0.1:1: no Ray cluster can be reached there: .*refused"),
        ("nowhere", "--address nowhere: write auto, local, or host:port"),
        ("ray://127.0.0.1:10001", "--address ray://127.0.0.1:10001: write auto, local, or host:port"),
    ],
)
def test_an_address_where_no_cluster_is(site: Site, address: str, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(CompatError, match=message):
        site.run(executor=Ray(address=address))
    assert time.monotonic() - started < 30
    assert not any(isinstance(event, StepStarted) for event in site.events)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["gpu=1"], "--with gpu=1: the executor ray has no parameter gpu; did you mean gpus?"),
        (["cpus=none"], "--with cpus=none: input should be a valid number"),
        (["memory=much"], "--with memory=much: "),
        (["wait=0"], "--with wait=0: input should be greater than 0"),
    ],
)
def test_parameters_that_cannot_be_meant(pairs: list[str], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        make_executor("ray", {"workers": None, "address": None}, pairs)
    assert str(raised.value).startswith(message)


def test_parameters_on_the_command_line() -> None:
    executor = make_executor("ray", {"workers": 2, "address": "auto"}, ["cpus=2", "gpus=0.5", "memory=8GB"])
    assert isinstance(executor, Ray)
    assert (executor.workers, executor.address, executor.cpus, executor.gpus) == (2, "auto", 2.0, 0.5)
    assert executor.memory == 8_000_000_000
