"""When steps fail: what goes on, what is left out, and what the user is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from compat_spec.errors import CompatError, UsageError
from compat_spec.run import resolve_devices
from compat_spec.run.events import StepFailed, StepFinished
from compat_spec.spec import SpecError
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


@pytest.mark.parametrize("wanted", ["gpu", "cpu:1", "cuda:-1", "mps:0", "", "cuda:x", "cpu,gpu", "cpu,", "auto,cpu"])
def test_a_device_that_is_none_is_refused_with_those_that_are(wanted: str) -> None:
    with pytest.raises(UsageError, match="use auto, cpu, cuda, cuda:1 or mps"):
        resolve_devices(wanted)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--device cuda:17: .*CUDA.*; use --device cpu, or auto"):
        resolve_devices("cuda:17")


def test_a_store_that_cannot_be_written_is_named(place: Workplace) -> None:
    (place.folder / ".compat").write_text("a file, not a folder")
    with pytest.raises(CompatError, match=r"the store .*\.compat cannot be written.*--store"):
        place.run()


def test_a_checkpoint_that_the_trainer_did_not_keep_is_missed(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compat_spec.run.session import Session

    monkeypatch.setattr(Session, "keep", lambda *_: None)
    summary = place.run()
    assert {failure.error for failure in summary.failed} == {
        "the trainer kept no checkpoint of step 3, which it said it would"
    }


def test_a_training_that_could_not_be_written_keeps_its_checkpoints(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compat_spec.nn.network import Network
    from compat_spec.run import networks

    save = networks.save

    def fails_at_the_end(network: Network, folder: Path) -> None:
        if folder.name.startswith("step-") or not (folder / "step-3").exists():
            return save(network, folder)
        raise OSError("no space left on device")

    monkeypatch.setattr(networks, "save", fails_at_the_end)
    first = place.run()
    assert {failure.step.label for failure in first.failed} == {"train one", "train two"}
    monkeypatch.setattr(networks, "save", save)
    assert place.run().exit_status == 0
    assert place.rows("SELECT DISTINCT step FROM cka WHERE step IS NOT NULL ORDER BY 1") == [(3,), (6,)]


def test_a_merge_that_trains_what_it_shares_with_others_is_refused(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compat_plugins.merges.activation_interpolation import ActivationInterpolation

    monkeypatch.setattr(ActivationInterpolation, "training", "possible")  # as a stranger's plugin might say
    summary = place.run("merges.blend.train={on: math, steps: 4, batch_size: 2, context: 32}")
    assert {failure.error for failure in summary.failed} == {
        "activation_interpolation has nothing to train: leave out `train:`"
    }
    shared = place.rows("SELECT merge, value FROM loss WHERE merge IN ('one', 'two') ORDER BY 1")
    monkeypatch.undo()
    place.run()
    assert place.rows("SELECT DISTINCT merge, value FROM loss WHERE merge IN ('one', 'two') ORDER BY 1") == shared


@pytest.fixture
def foreign(place: Workplace) -> Path:
    """A folder with a network of the same shape as the experiment's, whose tokens have other ids."""
    place.run()
    folder = place.folder / "foreign"
    shutil.copytree(place.store.path(place.fingerprint("train one")), folder)
    text = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = text["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "tokenizer.json").write_text(json.dumps(text))
    return folder


@pytest.mark.parametrize(
    "section",
    [
        "merges: {both: {use: linear, models: [one, two]}}\nmetrics: {m: {use: cross_entropy, on: math}}",
        "merges: {both: {use: activation_interpolation, trunk: one, models: [one, two]}}\n"
        "metrics: {m: {use: cross_entropy, on: math}}",
        "metrics: {m: {use: cka, between: [one, two], on: math, tokens: 64}}",
    ],
    ids=["linear", "activation_interpolation", "cka"],
)
def test_models_that_read_text_as_other_tokens_are_refused(
    place: Workplace, foreign: Path, section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compat_plugins.models.causal_lm import CausalLM

    text = f"""
name: strangers
tasks: {{math: {{use: word_problems, train: 60, test: 20}}}}
models:
  one: {{use: causal_lm, path: {foreign}}}
  two: {{use: causal_lm, path: {foreign.parent / "own"}}}
{section}
"""
    shutil.copytree(place.store.path(place.fingerprint("train one")), foreign.parent / "own")
    place.spec.write_text(text)
    with pytest.raises(SpecError, match="vocabulary is "):
        place.plan()
    monkeypatch.setattr(CausalLM, "architecture", lambda _: None)  # as of a hub, of which nothing is known before
    summary = place.run()
    assert any("have different tokenizers: token" in failure.error for failure in summary.failed)
