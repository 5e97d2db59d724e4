"""When steps fail: what goes on, what is left out, and what the user is told."""

from __future__ import annotations

import pytest

from compat_spec.errors import CompatError, UsageError
from compat_spec.run import resolve_device
from compat_spec.run.events import StepFailed, StepFinished
from tests.run.experiments import Workplace

DIVERGES = "models.two.train.lr=1e30"


def test_a_step_that_fails_takes_down_what_needs_it_and_nothing_else(place: Workplace) -> None:
    summary = place.run(DIVERGES, "models.two.train.clip=null")
    assert summary.exit_status == 1
    (failure,) = summary.failed
    assert failure.step.label == "train two"
    assert "the loss became" in failure.error
    assert "try a lower lr" in failure.error
    measured = {row[0] for row in place.rows("SELECT DISTINCT merge FROM loss")}
    assert measured == {"base", "one"}
    run = place.results.run(summary.run_id)
    assert run.status == "failed"
    assert run.steps["failed"] == 1
    assert run.steps["skipped"] == summary.skipped > 10
    assert summary.left == 0
    skipped = [step for step in place.results.steps(run.id) if step.status == "skipped"]
    assert {step.error for step in skipped} == {"needs train two"}
    assert [event.step.label for event in place.events if isinstance(event, StepFailed)] == ["train two"]


def test_a_mended_mistake_computes_the_rest_only(place: Workplace) -> None:
    place.run(DIVERGES, "models.two.train.clip=null")
    summary = place.run()
    assert summary.exit_status == 0
    ended = {event.step.label for event in place.events if isinstance(event, StepFinished)}
    assert "train two" in ended
    assert not ended & {"train base", "train one", "examples of math", "loss of one on program"}


def test_an_error_that_nobody_foresaw_keeps_its_traceback(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    from compat_plugins.merges.linear import Linear

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug in a plugin")

    monkeypatch.setattr(Linear, "combine", broken)
    summary = place.run()
    (failure,) = summary.failed
    assert failure.error == "ZeroDivisionError: a bug in a plugin"
    (step,) = [step for step in place.results.steps(summary.run_id) if step.status == "failed"]
    assert "in broken" in step.facts["traceback"]
    assert place.rows("SELECT count(*) FROM loss WHERE merge = 'router'") == [(1,)]


def test_a_split_that_the_task_lacks_is_named_with_those_that_it_has(place: Workplace) -> None:
    summary = place.run("metrics.loss.split=validation")
    assert {failure.error for failure in summary.failed} == {
        "the task has no split 'validation'; it has test, train",
    }
    assert place.rows("SELECT count(*) FROM accuracy") == [(10,)]


def test_results_that_cannot_be_written_end_the_run_and_lose_nothing(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compat_spec.results import ResultsError, RunWriter

    written = RunWriter.scores

    def vanishes(self: RunWriter, rows: object) -> None:
        raise ResultsError("results.db is locked")

    monkeypatch.setattr(RunWriter, "scores", vanishes)
    with pytest.raises(ResultsError, match=r"results\.db is locked"):
        place.run()
    monkeypatch.setattr(RunWriter, "scores", written)
    trained = sum(place.store.manifest(one).kind == "train" for one in place.store)
    assert trained > 0
    summary = place.run()
    assert summary.exit_status == 0
    assert summary.reused >= trained


@pytest.mark.parametrize("wanted", ["gpu", "cpu:1", "cuda:-1", "mps:0", "", "cuda:x"])
def test_a_device_that_is_none_is_refused_with_those_that_are(wanted: str) -> None:
    with pytest.raises(UsageError, match="use auto, cpu, cuda, cuda:1 or mps"):
        resolve_device(wanted)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"this machine has .*CUDA GPU"):
        resolve_device("cuda:17")


def test_a_store_that_cannot_be_written_is_named(place: Workplace) -> None:
    (place.folder / ".compat").write_text("a file, not a folder")
    with pytest.raises(CompatError, match=r"the store .*\.compat cannot be written.*--store"):
        place.run()
