"""Which steps a run has to compute, given what the store has already."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from compat_spec.plan import Plan, StepKind
from compat_spec.plan.needed import is_available, needed_steps
from compat_spec.store import Store
from tests.plan.experiments import Planner, step

COMPOSED = {"merge blend", "merge router"}
"""The merges that are modules made of networks: their artifacts refer to those."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def plan(make: Planner) -> Plan:
    return make()


def compute(plan: Plan, store: Store, *wanted: str) -> None:
    """As if a run had computed these steps, or all."""
    for found in plan.steps.values():
        if not wanted or found.label in wanted:
            experts = [ref.fingerprint for role, ref in found.inputs.items() if role.startswith("expert:")]
            facts = {"refers": experts} if found.label in COMPOSED else {}
            with store.writing(found.fingerprint, found.kind.value, found.label, facts) as folder:
                (folder / "result.json").write_text("{}")


@pytest.fixture
def done(plan: Plan, store: Store) -> Store:
    """A store where everything has been computed."""
    compute(plan, store)
    return store


def remove(plan: Plan, store: Store, *wanted: str) -> None:
    for label in wanted:
        store.remove(step(plan, label).fingerprint)


def needed(plan: Plan, store: Store) -> set[str]:
    """The labels of the steps to compute."""
    found = needed_steps(plan, store)
    assert len(set(found)) == len(found)
    assert found == [key for key in plan.steps if key in set(found)], "in the order of the plan"
    return {plan.steps[key].label for key in found}


def test_an_empty_store_needs_everything(plan: Plan, store: Store) -> None:
    assert needed_steps(plan, store) == list(plan.steps)
    assert not store.root.exists()


def test_a_full_store_needs_nothing(plan: Plan, done: Store) -> None:
    assert needed(plan, done) == set()


def test_results_need_nothing_though_all_that_led_to_them_is_gone(plan: Plan, done: Store) -> None:
    results = set(plan.results())
    for key in plan.steps:
        if key not in results:
            done.remove(key)
    assert len(list(done)) == len(results) == 7
    assert needed(plan, done) == set()


def test_a_missing_result_needs_itself_when_its_inputs_are_there(plan: Plan, done: Store) -> None:
    remove(plan, done, "loss of average on program")
    assert needed(plan, done) == {"loss of average on program"}


def test_a_missing_result_needs_of_its_inputs_what_is_missing(plan: Plan, done: Store) -> None:
    remove(plan, done, "loss of average on program", "merge average")
    assert needed(plan, done) == {"loss of average on program", "merge average"}
    remove(plan, done, "train one")
    assert needed(plan, done) == {"loss of average on program", "merge average", "train one"}
    remove(plan, done, "examples of math", "tokenizer of base", "start of base", "train two")
    assert needed(plan, done) == {"loss of average on program", "merge average", "train one", "train two"}
    remove(plan, done, "tokens of math")
    assert needed(plan, done) == {
        *("loss of average on program", "merge average", "train one", "train two"),
        *("tokens of math", "tokenizer of base", "examples of math"),
    }


def test_what_is_missing_but_led_only_to_what_is_there_is_not_needed(plan: Plan, done: Store) -> None:
    remove(plan, done, "train one", "loss of base on program")
    assert needed(plan, done) == {"loss of base on program"}


def test_a_merge_of_parameters_needs_its_models_no_longer(plan: Plan, done: Store) -> None:
    remove(plan, done, "loss of average on program", "train one", "train two")
    assert needed(plan, done) == {"loss of average on program"}


@pytest.mark.parametrize("name", ["blend", "router"])
def test_a_composed_merge_without_its_models_is_needed_again(plan: Plan, done: Store, name: str) -> None:
    measured, merge = f"loss of {name} on program", f"merge {name}"
    remove(plan, done, measured)
    assert needed(plan, done) == {measured}
    remove(plan, done, "train two")
    assert needed(plan, done) == {measured, merge, "train two"}
    assert not is_available(plan, done, step(plan, merge).fingerprint)
    compute(plan, done, "train two")
    assert needed(plan, done) == {measured}
    assert is_available(plan, done, step(plan, merge).fingerprint)


def test_a_composed_merge_whose_results_are_there_may_lack_its_models(plan: Plan, done: Store) -> None:
    remove(plan, done, "train one", "train two")
    assert needed(plan, done) == set()


def test_a_checkpoint_is_there_when_its_training_is(make: Planner, store: Store) -> None:
    plan = make("merges.blend.at=3", "merges.router=null", "metrics.loss.of=blend", "metrics.cka=null")
    compute(plan, store)
    remove(plan, store, "loss of blend on program")
    assert needed(plan, store) == {"loss of blend on program"}


def test_what_another_spec_computed_is_not_needed(make: Planner, plan: Plan, done: Store) -> None:
    other = make("name=other", "merges.blend.alpha=0.5", "metrics.cka.tokens=32")
    assert needed(other, done) == {"merge blend", "loss of blend on program", "cka of one and two on program"}


def test_more_seeds_need_what_depends_on_the_seed(make: Planner, done: Store) -> None:
    more = make("seeds=[0, 1]")
    kinds = {more.steps[key].kind for key in needed_steps(more, done)}
    assert kinds == {StepKind.SOURCE, StepKind.TRAIN, StepKind.MERGE, StepKind.MEASURE, StepKind.COMPARE}
    assert all("seed 1" in more.steps[key].label for key in needed_steps(more, done))


def test_unmeasured_merges_are_what_a_run_is_for(make: Planner, store: Store) -> None:
    plan = make("metrics=null")
    compute(plan, store)
    remove(plan, store, "merge average", "merge router")
    assert needed(plan, store) == {"merge average", "merge router"}
    remove(plan, store, "train one")
    assert needed(plan, store) == {"merge average", "merge router", "merge blend", "train one"}


@pytest.mark.parametrize("seed", range(10))
def test_whatever_is_gone_a_run_of_what_is_needed_brings_all_results(plan: Plan, done: Store, seed: int) -> None:
    dice = random.Random(seed)
    for key in dice.sample(list(plan.steps), dice.randint(1, len(plan.steps))):
        done.remove(key)
    for key in needed_steps(plan, done):
        assert all(is_available(plan, done, above) for above in plan.steps[key].needs()), plan.steps[key].label
        done.remove(key)
        compute(plan, done, plan.steps[key].label)
    assert all(is_available(plan, done, key) for key in plan.results() if plan.steps[key].kind is StepKind.MEASURE)
    assert needed(plan, done) == set()
