"""Runs of merges that look at their models before they merge them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from compat_spec.plan import StepKind
from compat_spec.run.events import StepFinished, StepProgress
from tests.run.experiments import Workplace

SPEC = """
name: studies
tasks:
  math: {use: word_problems, train: 60, test: 20}
  program: {use: program_problems, train: 60, test: 20}
models:
  base:
    use: causal_lm
    config: {model_type: gpt2, n_layer: 2, n_embd: 16, n_head: 2, n_positions: 64}
    tokenizer: {train_on: [math], vocab_size: 300}
  one: {from: base, train: {on: math, steps: 6, batch_size: 2, context: 32}}
  two: {from: base, train: {on: program, steps: 6, batch_size: 2, context: 32}}
merges:
  fisher: {use: fisher, models: [one, two], on: [math, program], sequences: 4, context: 32}
  regmean: {use: regmean, models: [one, two], on: [math, program], sequences: 4, context: 32}
  soup: {use: greedy_soup, models: [one, two], on: program, tokens: 256, context: 32}
  placed: {use: git_rebasin, models: [one, two]}
  contest: {use: pcb, models: [one, two], base: base}
metrics:
  loss: {use: cross_entropy, on: program, tokens: 256}
"""
STUDIES = ["fisher", "regmean", "soup", "placed", "contest"]


class StudyPlace(Workplace):
    @property
    def spec(self) -> Path:
        path = self.folder / "studies.yaml"
        if not path.exists():
            path.write_text(SPEC, "utf-8")
        return path


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> StudyPlace:
    place = StudyPlace(tmp_path_factory.mktemp("studies"))
    summary = place.run()
    assert summary.exit_status == 0, summary.failed
    return place


def tensors(place: StudyPlace, label: str) -> dict[str, torch.Tensor]:
    return load_file(place.store.path(place.fingerprint(label)) / "model.safetensors")


@pytest.mark.parametrize("merge", STUDIES)
def test_each_gives_a_model_that_works(studied: StudyPlace, merge: str) -> None:
    ((loss,),) = studied.rows("SELECT value FROM loss WHERE merge = ?", merge)
    assert 0 < loss < 10
    made, one, two = (tensors(studied, label) for label in (f"merge {merge}", "train one", "train two"))
    assert {name: tensor.shape for name, tensor in made.items()} == {name: tensor.shape for name, tensor in one.items()}
    assert "lm_head.weight" not in made, "the embeddings are the head"
    if merge != "soup":
        assert all(any(not made[name].equal(other[name]) for name in made) for other in (one, two))


def test_what_a_study_records_is_among_the_facts_of_its_step(studied: StudyPlace) -> None:
    run = studied.results.run("last")
    (soup,) = [step for step in studied.results.steps(run.id) if step.label == "merge soup"]
    assert set(soup.facts["chosen"]) <= {"one", "two"}
    assert soup.facts["loss"] <= min(soup.facts["losses"])


def test_models_of_one_base_keep_their_places(studied: StudyPlace) -> None:
    placed, one, two = (tensors(studied, label) for label in ("merge placed", "train one", "train two"))
    for name, tensor in placed.items():
        torch.testing.assert_close(tensor, (one[name] + two[name]) / 2)


def test_how_far_a_study_is_can_be_seen(studied: StudyPlace) -> None:
    merges = {
        event.step.fingerprint: event.step.label.removeprefix("merge ")
        for event in studied.events
        if isinstance(event, StepFinished) and event.step.kind is StepKind.MERGE
    }
    assert set(merges.values()) == set(STUDIES)
    notes: dict[str, set[str]] = {}
    for event in studied.events:
        if isinstance(event, StepProgress) and event.fingerprint in merges:
            assert event.done <= event.total
            notes.setdefault(merges[event.fingerprint], set()).add(event.note)
    assert {"Fisher information of one", "Fisher information of two"} <= notes["fisher"]
    assert {"inputs of the layers of one", "inputs of the layers of two"} <= notes["regmean"]
    assert {"loss of one", "loss of two"} <= notes["soup"]
    assert "units of two" in notes["placed"]
    assert "ranking entries" in notes["contest"]


def test_the_same_studies_again_are_in_the_store(studied: StudyPlace) -> None:
    before = studied.rows("SELECT merge, value FROM loss ORDER BY 1")
    summary = studied.run()
    assert (summary.computed, summary.exit_status) == (0, 0)
    assert studied.rows("SELECT merge, value FROM loss ORDER BY 1") == before


def test_another_task_is_another_merge(studied: StudyPlace) -> None:
    for merge in ("fisher", "regmean", "soup"):
        other = f"merges.{merge}.on=math"
        assert studied.fingerprint(f"merge {merge}", other) != studied.fingerprint(f"merge {merge}")


def test_a_split_that_is_not_there_is_named(place: Workplace) -> None:
    here = StudyPlace(place.folder)
    summary = here.run("merges.fisher.split=validation")
    assert summary.exit_status == 1
    (failed,) = summary.failed
    assert "the task has no split 'validation'; it has test, train" in str(failed)
