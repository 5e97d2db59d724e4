"""What is measured of what, and how the results are to tell it apart."""

from __future__ import annotations

import pytest

from compat_spec.plan import StepKind
from tests.plan.experiments import Planner, labels, measurements, steps


def test_a_metric_measures_every_model_and_merge_at_its_end(make: Planner) -> None:
    plan = make()
    found = measurements(plan, "loss")
    assert {(each.model, each.training_step) for each in found} == {
        ("base", 8),
        *((name, 6) for name in ("one", "two", "average", "blend", "router")),
    }
    assert {(each.use, each.quantity, each.task, each.seed) for each in found} == {
        ("cross_entropy", "loss", "program", 0)
    }
    assert all(each.between is None for each in found)
    assert len({each.fingerprint for each in found}) == len(found) == 6


def test_a_measurement_belongs_to_the_step_under_which_it_is_kept(make: Planner) -> None:
    plan = make("seeds=[0, 1]", "metrics.loss.on=[math, program]")
    for fingerprint, found in plan.measurements.items():
        step = plan.steps[fingerprint]
        assert {each.fingerprint for each in found} == {fingerprint}
        for each in found:
            assert step.label.startswith(f"{each.metric} of ")
            assert f" on {each.task} (seed {each.seed})" in step.label
    measuring = [step.fingerprint for step in plan.steps.values() if step.kind in (StepKind.MEASURE, StepKind.COMPARE)]
    assert list(plan.measurements) == measuring


def test_every_seed_is_measured(make: Planner) -> None:
    plan = make("seeds=[3, 1]")
    for metric, count in (("loss", 6), ("cka", 1)):
        found = measurements(plan, metric)
        assert [each.seed for each in found] == [3] * count + [1] * count
        assert len({each.fingerprint for each in found}) == 2 * count


def test_a_pair_metric_compares_two_models(make: Planner) -> None:
    (found,) = measurements(make("metrics.cka.between=[one@3, two]"), "cka")
    assert (found.between, found.training_steps) == (("one", "two"), (3, 6))
    assert (found.model, found.training_step, found.task, found.quantity) == (None, None, "program", "cka")


def test_an_untrained_model_has_no_training_step(make: Planner) -> None:
    plan = make("models.base.train=null", "metrics.cka.between=[base, one]")
    assert {each.training_step for each in measurements(plan, "loss") if each.model == "base"} == {None}
    assert [each.training_steps for each in measurements(plan, "cka")] == [(None, 6)]


@pytest.mark.parametrize(
    ("merge", "training_step"),
    [
        ("{use: linear, models: [one, two]}", 6),
        ("{use: linear, models: [one, two], at: 3}", 3),
        ("{use: linear, models: [one@3, two@3]}", 3),
        ("{use: linear, models: [one@3, two]}", None),
        ("{use: linear, models: [one, two, base], at: 3}", 3),  # a base keeps no checkpoints
        ("{use: linear, models: [base, base]}", None),
        ("{use: linear, models: [early, two@3]}", 3),
        ("{use: linear, models: [early, two]}", None),
    ],
)
def test_a_merge_stands_at_the_step_that_its_experts_have_in_common(
    make: Planner, merge: str, training_step: int | None
) -> None:
    early = "merges.early={use: linear, models: [one, two], at: 3}"
    plan = make(f"merges.average={merge}", early, "metrics.loss.of=average")
    assert [each.training_step for each in measurements(plan, "loss")] == [training_step]


def test_metrics_of_routers_are_measured_of_merges_with_routers(make: Planner) -> None:
    plan = make("metrics.load={use: router_load, on: program}")
    assert [each.model for each in measurements(plan, "load")] == ["router"]
    assert [label for label in labels(plan) if label.startswith("load")] == ["load of router on program"]
    plan = make("metrics.load={use: router_load, on: program, of: [average, one, router]}")
    assert [each.model for each in measurements(plan, "load")] == ["router"]


def test_a_metric_may_be_measured_of_checkpoints(make: Planner) -> None:
    plan = make("metrics.loss.of=[one, average]", "metrics.loss.at=[3, 6]")
    assert {(each.model, each.training_step) for each in measurements(plan, "loss")} == {
        ("one", 3),
        ("one", 6),
        ("average", 6),
    }


def test_the_end_of_a_model_is_measured_once_whatever_it_is_called(make: Planner) -> None:
    plan = make("metrics.loss.of=[one, one@6]")
    assert [(each.model, each.training_step) for each in measurements(plan, "loss")] == [("one", 6)]
    assert len(steps(plan, StepKind.MEASURE)) == 1


def test_metrics_of_two_tasks_are_told_apart(make: Planner) -> None:
    plan = make("metrics.loss={use: cross_entropy, on: [math, program], of: one}")
    found = measurements(plan, "loss")
    assert [each.task for each in found] == ["math", "program"]
    assert len({each.fingerprint for each in found}) == 2


def test_two_tasks_that_are_the_same_are_measured_once_and_told_twice(make: Planner) -> None:
    plan = make(
        "tasks.again={use: program_problems, train: 60, test: 20}",
        "metrics.loss={use: cross_entropy, on: [again, program], of: one}",
    )
    found = measurements(plan, "loss")
    assert [each.task for each in found] == ["again", "program"]
    assert len({each.fingerprint for each in found}) == 1


def test_without_metrics_nothing_is_measured(make: Planner) -> None:
    assert make("metrics=null").measurements == {}
