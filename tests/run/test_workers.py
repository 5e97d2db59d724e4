"""Several worker processes: the same numbers, and nothing lost when one of them dies."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from compat_plugins.executors.local import Local
from compat_spec.errors import CompatError, InterruptedRun
from compat_spec.run.events import Event, StepFinished, StepProgress, StepRetried
from tests.installed import Site
from tests.run.experiments import Workplace
from tests.run.test_resuming import LONG, numbers, until


def children(of: int) -> list[int]:
    """The processes that a process has started and that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if int(parent) == of and state != "Z":
            found.append(int(folder.name))
    return found


def workers() -> list[int]:
    """The worker processes of this one: those that were spawned, not the one that keeps track of shared memory."""
    return [
        pid for pid in children(os.getpid()) if b"spawn_main" in (Path("/proc") / str(pid) / "cmdline").read_bytes()
    ]


DEADLY = '''\
import os
import signal

from compat_spec.components import TensorMerge


class Deadly(TensorMerge):
    """Takes its process with it, as the machine does when it is out of memory."""

    def combine(self, tensors, base, *, at):
        os.kill(os.getpid(), signal.SIGKILL)
'''

on_linux = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")


def test_two_workers_give_the_numbers_of_one(place: Workplace, once: Workplace) -> None:
    summary = place.run(executor=Local(workers=2))
    assert summary.exit_status == 0, summary.failed
    assert numbers(place, summary.run_id) == numbers(once, once.results.runs()[0].id)
    assert place.rows("SELECT executor FROM runs") == [("local",)]
    assert all(not place.store.verify(fingerprint) for fingerprint in place.store)
    assert not workers()


@on_linux
def test_a_worker_that_is_killed_is_replaced_and_its_training_goes_on(place: Workplace) -> None:
    killed: list[int] = []

    def kill(event: Event) -> None:
        if isinstance(event, StepProgress) and event.total == 400 and event.done > 20 and not killed:
            killed.extend(workers())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    summary = place.run(*LONG, executor=Local(workers=2), listener=kill, checkpoint_every=0)
    assert len(killed) == 2
    assert summary.exit_status == 0, summary.failed
    retried = [event for event in place.events if isinstance(event, StepRetried)]
    assert "train one" in {event.step.label for event in retried}
    assert all("ended by SIGKILL" in event.reason for event in retried)
    progress = [event.done for event in place.events if isinstance(event, StepProgress) and event.total == 400]
    assert min(progress[next(i for i, done in enumerate(progress) if done > 20) + 1 :]) > 1, "it began anew"
    other = Workplace(place.folder / "undisturbed")
    other.folder.mkdir()
    assert numbers(place, summary.run_id) == numbers(other, other.run(*LONG).run_id)


def test_a_step_that_kills_its_worker_each_time_fails_and_the_rest_goes_on(place: Workplace) -> None:
    site = Site(place.folder)
    site.install("deadly", "[compat.merges]\ndeadly = deadly:Deadly\n", deadly=DEADLY)
    deadly = "merges.deadly={use: deadly, models: [one, two]}"
    options = ["--workers", "2", "--device", "cpu", "--retries", "1"]
    ended = site.compat("run", place.spec, "--set", deadly, *options)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.splitlines() == [
        "failed: merge deadly: the process that ran it was ended by SIGKILL (is the machine out of memory?)"
    ]
    assert ended.stdout.count("again: merge deadly") == 1
    (run,) = place.results.runs()
    assert (run.status, run.steps["failed"]) == ("failed", 1)
    skipped = {step.label for step in place.results.steps(run.id) if step.status == "skipped"}
    assert skipped == {"loss of deadly on program", "accuracy of deadly on program"}
    assert len(place.rows("SELECT value FROM loss")) == 10
    assert place.run().computed == 0


@on_linux
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
def test_workers_end_with_their_driver(place: Workplace, how: signal.Signals) -> None:
    overrides = [argument for override in LONG for argument in ("--set", override)]
    arguments = ["--workers", "2", "--device", "cpu", "--checkpoint-every", "0"]
    process = place.start("run", str(place.spec), *arguments, *overrides)
    until((place.store.work_folder(place.fingerprint("train one", *LONG)) / "state.safetensors").exists, process)
    started = children(process.pid)
    assert len(started) >= 2
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    if how == signal.SIGINT:
        assert process.returncode == InterruptedRun.exit_status
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in started):
        assert time.monotonic() < deadline, "workers outlive their driver"
        time.sleep(0.05)
    assert place.run(*LONG).exit_status == 0


def test_an_error_in_a_worker_keeps_its_words_and_its_traceback(place: Workplace) -> None:
    summary = place.run(
        "metrics.loss.split=validation",
        "models.two.train.lr=1e30",
        "models.two.train.clip=null",
        executor=Local(workers=2),
    )
    errors = {failure.error for failure in summary.failed}
    assert any("the loss became" in error for error in errors)
    assert "the task has no split 'validation'; it has test, train" in errors
    assert not place.rows("SELECT count(*) FROM steps WHERE status = 'computed' AND label = 'train two'")[0][0]


# ------------------------------------------------------------------------------------------------ broken artifacts


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_an_input_whose_bits_have_changed_is_made_again(done: Workplace) -> None:
    before = numbers(done, done.results.runs()[0].id)
    broken = done.fingerprint("train one")
    flip_a_bit(done.store.path(broken) / "model.safetensors")
    done.store.remove(done.fingerprint("merge average"))
    done.store.remove(done.fingerprint("loss of average on program"))
    summary = done.run()
    assert summary.exit_status == 0, summary.failed
    retried = [event for event in done.events if isinstance(event, StepRetried)]
    assert [event.step.label for event in retried] == ["merge average"]
    assert "its content has changed; it is made again" in retried[0].reason
    computed = {event.step.label for event in done.events if isinstance(event, StepFinished)}
    assert computed == {"train one", "merge average", "loss of average on program"}
    assert numbers(done, summary.run_id) == before
    assert len(list((done.folder / ".compat" / "broken").iterdir())) == 1
    assert not done.store.verify(broken)


def test_an_artifact_whose_manifest_cannot_be_read_is_made_again(done: Workplace) -> None:
    flip_a_bit(done.store.path(done.fingerprint("train one")) / "artifact.json")
    done.store.remove(done.fingerprint("merge average"))
    done.store.remove(done.fingerprint("loss of average on program"))
    summary = done.run()
    assert (summary.exit_status, summary.computed) == (0, 3)


def test_a_network_that_a_composed_module_refers_to_is_made_again(done: Workplace) -> None:
    before = numbers(done, done.results.runs()[0].id)
    flip_a_bit(done.store.path(done.fingerprint("train two")) / "model.safetensors")
    done.store.remove(done.fingerprint("loss of router on program"))
    summary = done.run()
    assert summary.exit_status == 0, summary.failed
    assert numbers(done, summary.run_id) == before


@pytest.mark.parametrize("file", ["scores.json", "artifact.json"])
def test_a_result_that_has_changed_is_measured_again(done: Workplace, file: str) -> None:
    before = numbers(done, done.results.runs()[0].id)
    flip_a_bit(done.store.path(done.fingerprint("loss of average on program")) / file)
    summary = done.run()
    assert (summary.exit_status, summary.computed) == (0, 1)
    assert numbers(done, summary.run_id) == before


def test_two_workers_that_meet_the_same_broken_artifact_share_the_mended_one(done: Workplace) -> None:
    before = numbers(done, done.results.runs()[0].id)
    flip_a_bit(done.store.path(done.fingerprint("train one")) / "model.safetensors")
    kept = {done.fingerprint(f"train {name}") for name in ("base", "one", "two")}
    for fingerprint in [one for one in done.store if done.store.manifest(one).kind in ("merge", "measure", "compare")]:
        assert fingerprint not in kept
        done.store.remove(fingerprint)
    summary = done.run(executor=Local(workers=2))
    assert summary.exit_status == 0, summary.failed
    finished = [event.step.label for event in done.events if isinstance(event, StepFinished)]
    assert finished.count("train one") == 1
    assert numbers(done, summary.run_id) == before


def test_a_broken_artifact_whose_origin_has_failed_is_a_failure_and_no_interruption(
    done: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compat_plugins.trainers.finetune import Finetune

    def fails(*_: object) -> None:
        raise CompatError("the base cannot be trained")

    monkeypatch.setattr(Finetune, "train", fails)
    for label in ("train base", "loss of base on program", "merge average", "loss of average on program"):
        done.store.remove(done.fingerprint(label))
    flip_a_bit(done.store.path(done.fingerprint("train one")) / "model.safetensors")
    summary = done.run()
    assert summary.exit_status == 1
    assert summary.left == 0
    assert "train base" in {failure.step.label for failure in summary.failed}
    assert done.rows("SELECT status FROM runs WHERE id = ?", summary.run_id) == [("failed",)]


# ----------------------------------------------------------------------------------------------------- the command


def test_workers_are_a_number(place: Workplace) -> None:
    with pytest.raises(ValidationError):
        Local(workers=0)
    done = place.compat("run", str(place.spec), "--executor", "inline", "--workers", "2")
    assert done.returncode == 2
    assert "--workers: the executor inline has no number of workers to choose" in done.stderr
