"""Runs on a store at a URL, as machines with a cache each see it."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest

from compat_plugins.executors.local import Local
from compat_spec.run.events import StepProgress, StepRetried
from compat_spec.store import SharedStore, Store
from tests.run.experiments import Workplace
from tests.run.test_resuming import LONG, numbers, until


@dataclass
class Machine(Workplace):
    """A place whose store is at a URL that other places may share."""

    url: str = ""

    @property
    def store(self) -> Store:
        return SharedStore(self.url, self.folder / "cache")


def machine(tmp_path: Path, name: str) -> Machine:
    folder = tmp_path / name
    folder.mkdir()
    return Machine(folder, url=f"file://{tmp_path}/shared")


def test_what_one_machine_computed_another_reuses(tmp_path: Path, once: Workplace) -> None:
    first, second = machine(tmp_path, "first"), machine(tmp_path, "second")
    summary = first.run(executor=Local(workers=2))
    assert summary.exit_status == 0, summary.failed
    assert numbers(first, summary.run_id) == numbers(once, once.results.runs()[0].id)
    again = second.run()
    assert (again.exit_status, again.computed, again.reused) == (0, 0, summary.computed)
    assert numbers(second, again.run_id) == numbers(first, summary.run_id)
    fetched = {second.store.manifest(path.name).kind for path in (second.folder / "cache" / "artifacts").glob("*/*")}
    assert fetched == {"measure", "compare"}, "what is not read is not fetched"


def test_a_training_goes_on_on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = machine(tmp_path, "first"), machine(tmp_path, "second")
    training = first.fingerprint("train one", *LONG)
    overrides = [argument for override in LONG for argument in ("--set", override)]
    monkeypatch.setenv("COMPAT_CACHE", str(tmp_path / "another cache"))
    process = first.start("run", str(first.spec), "--store", first.url, "--checkpoint-every", "0", *overrides)
    until((tmp_path / "shared" / "work" / training / "work.json").exists, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)

    summary = second.run(*LONG)
    assert summary.exit_status == 0, summary.failed
    told = [event.done for event in second.events if isinstance(event, StepProgress) and event.fingerprint == training]
    assert told[0] > 1, "it began anew"
    assert told[-1] == 400
    assert not (tmp_path / "shared" / "work").exists() or not any((tmp_path / "shared" / "work").iterdir())
    undisturbed = Workplace(tmp_path / "undisturbed")
    undisturbed.folder.mkdir()
    assert numbers(second, summary.run_id) == numbers(undisturbed, undisturbed.run(*LONG).run_id)


def test_an_input_that_has_changed_at_the_url_is_made_again(tmp_path: Path) -> None:
    first, second = machine(tmp_path, "first"), machine(tmp_path, "second")
    before = numbers(first, first.run().run_id)
    broken = first.fingerprint("train one")
    sha256 = first.store.manifest(broken).files["model.safetensors"].sha256
    filesystem, root = fsspec.core.url_to_fs(first.url)
    path = f"{root}/objects/{broken[:2]}/{broken}/{sha256}"
    content = filesystem.cat_file(path)
    filesystem.pipe_file(path, content[:-1] + bytes([content[-1] ^ 1]))
    second.store.remove(second.fingerprint("merge average"))
    second.store.remove(second.fingerprint("loss of average on program"))
    summary = second.run()
    assert (summary.exit_status, summary.computed) == (0, 3), summary.failed
    (retried,) = (event for event in second.events if isinstance(event, StepRetried))
    assert "its content has changed; it is made again" in retried.reason
    assert numbers(second, summary.run_id) == before
    assert not second.store.verify(broken)
