"""Sweeps: how they multiply what stands on them, which points belong together, and what the results call them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compat_spec.plan import Plan, Step, StepKind
from compat_spec.store import ArtifactRef
from tests.plan.experiments import SPEC, Planner, changed, labels, measurements, step, steps

LR = "{sweep: [1e-3, 2e-3, 4e-3]}"
ZIPPED = "{sweep: [1e-3, 2e-3, 4e-3], zip: lr}"


def points(plan: Plan, model: str) -> list[dict[str, Any]]:
    """The values of the sweeps at which the loss of a model is measured."""
    return [dict(found.parameters) for found in measurements(plan, "loss") if found.model == model]


def trained(plan: Plan, name: str) -> list[Step]:
    return [found for found in steps(plan, StepKind.TRAIN) if found.label.startswith(f"train {name}")]


def merged(plan: Plan, name: str) -> list[Step]:
    return [found for found in steps(plan, StepKind.MERGE) if found.label.startswith(f"merge {name}")]


def experts(plan: Plan, merge: Step) -> list[Step]:
    return [plan.steps[merge.inputs[f"expert:{index}"].fingerprint] for index in range(2)]


# ---------------------------------------------------------------------------------------------------- sweeps in merges


def test_a_sweep_in_a_merge_is_a_step_for_each_value(make: Planner) -> None:
    plan = make("merges.blend.alpha={sweep: {from: 0, to: 1, num: 5}}")
    alphas = [found.component.params["alpha"] for found in merged(plan, "blend") if found.component]
    assert alphas == [0, 0.25, 0.5, 0.75, 1]
    assert points(plan, "blend") == [{"alpha": alpha} for alpha in alphas]
    assert plan.parameters == ("alpha",)


def test_one_value_of_a_sweep_is_the_step_without_a_sweep(make: Planner) -> None:
    small, swept = make(), make("merges.blend.alpha={sweep: [0.25, 0.5]}")
    assert set(small.steps) < set(swept.steps)
    assert changed(small, swept) == {"merge blend (alpha 0.5)", "loss of blend on program (alpha 0.5)"}


def test_the_sweeps_of_one_merge_make_all_combinations_and_those_of_two_do_not(make: Planner) -> None:
    plan = make(
        "merges.blend.alpha={sweep: [0.25, 0.5]}", "merges.blend.at={sweep: [3, 6]}", f"merges.router.train.lr={LR}"
    )
    assert len(merged(plan, "blend")) == 4
    assert len(merged(plan, "router")) == 3
    assert points(plan, "average") == [{}]
    assert plan.parameters == ("alpha", "train_lr")


def test_the_models_of_a_merge_may_be_swept(make: Planner) -> None:
    plan = make("merges.average.models=[one, {sweep: [two, base]}]")
    assert [[found.label for found in experts(plan, merge)] for merge in merged(plan, "average")] == [
        ["train one", "train two"],
        ["train one", "train base"],
    ]
    assert [point.popitem()[1] for point in points(plan, "average")] == ["two", "base"]


# --------------------------------------------------------------------------------------------------------- checkpoints


def test_a_checkpoint_is_a_part_of_its_training_and_the_last_step_is_the_whole(make: Planner) -> None:
    plan = make("merges.blend.at={sweep: [3, 6]}")
    one, two = step(plan, "train one").fingerprint, step(plan, "train two").fingerprint
    assert [list(merge.inputs.values()) for merge in merged(plan, "blend")] == [
        [ArtifactRef(one, "step-3"), ArtifactRef(two, "step-3")],
        [ArtifactRef(one), ArtifactRef(two)],
    ]
    assert len(steps(plan, StepKind.TRAIN)) == 3, "checkpoints cost no training"


def test_a_swept_step_is_the_training_step_and_not_a_parameter(make: Planner) -> None:
    plan = make("merges.blend.at={sweep: [3, 6]}", "metrics.cka.at={sweep: [3, 6]}", "metrics.loss.of=blend")
    assert plan.parameters == ()
    assert [(found.training_step, dict(found.parameters)) for found in measurements(plan, "loss")] == [(3, {}), (6, {})]
    assert [found.training_steps for found in measurements(plan, "cka")] == [(3, 3), (6, 6)]


def test_a_model_may_descend_from_a_checkpoint(make: Planner) -> None:
    plan = make("models.two.from=one@3")
    assert step(plan, "train two").inputs["parent"] == ArtifactRef(step(plan, "train one").fingerprint, "step-3")
    whole = make("models.two.from=one@6")
    assert step(whole, "train two").inputs["parent"] == ArtifactRef(step(whole, "train one").fingerprint)


# ---------------------------------------------------------------------------------------------------- sweeps in models


def test_a_sweep_in_a_model_is_a_sweep_of_its_merges(make: Planner) -> None:
    plan = make(f"models.one.train.lr={LR}")
    assert len(trained(plan, "one")) == 3
    assert len(trained(plan, "two")) == 1
    two = step(plan, "train two")
    assert [experts(plan, merge) for merge in merged(plan, "average")] == [[one, two] for one in trained(plan, "one")]
    rates = [{"one_train_lr": rate} for rate in (1e-3, 2e-3, 4e-3)]
    assert points(plan, "average") == points(plan, "router") == points(plan, "one") == rates
    assert points(plan, "two") == points(plan, "base") == [{}]
    assert [dict(found.parameters) for found in measurements(plan, "cka")] == rates
    assert plan.parameters == ("one_train_lr",)


def test_independent_sweeps_of_two_models_make_all_combinations(make: Planner) -> None:
    plan = make(f"models.one.train.lr={LR}", "models.two.train.lr={sweep: [1e-3, 2e-3]}")
    pairs = [(found.inputs["expert:0"], found.inputs["expert:1"]) for found in merged(plan, "average")]
    assert len(set(pairs)) == 6
    assert {tuple(point.values()) for point in points(plan, "average")} == {
        (one, two) for one in (1e-3, 2e-3, 4e-3) for two in (1e-3, 2e-3)
    }


def test_sweeps_with_one_zip_vary_together(make: Planner) -> None:
    plan = make(f"models.one.train.lr={ZIPPED}", f"models.two.train.lr={ZIPPED}")
    assert points(plan, "average") == [{"one_train_lr": rate, "two_train_lr": rate} for rate in (1e-3, 2e-3, 4e-3)]
    for merge, one, two in zip(merged(plan, "average"), trained(plan, "one"), trained(plan, "two"), strict=True):
        assert experts(plan, merge) == [one, two]
    assert len(measurements(plan, "cka")) == 3


def test_two_descendants_of_a_swept_base_stand_on_the_same_point(make: Planner) -> None:
    plan = make(f"models.base.train.lr={LR}")
    assert len(trained(plan, "base")) == len(trained(plan, "one")) == len(trained(plan, "two")) == 3
    merges = merged(plan, "average")
    assert len(merges) == 3
    parents = [{found.inputs["parent"] for found in experts(plan, merge)} for merge in merges]
    assert parents == [{ArtifactRef(base.fingerprint)} for base in trained(plan, "base")]
    assert points(plan, "average") == [{"base_train_lr": rate} for rate in (1e-3, 2e-3, 4e-3)]
    assert len(measurements(plan, "cka")) == 3


def test_a_swept_base_under_a_swept_descendant_makes_all_combinations(make: Planner) -> None:
    plan = make("models.base.train.lr={sweep: [1e-3, 2e-3]}", f"models.one.train.lr={LR}")
    assert len(trained(plan, "one")) == 6
    assert len(merged(plan, "average")) == 6
    for merge in merged(plan, "average"):
        one, two = experts(plan, merge)
        assert one.inputs["parent"] == two.inputs["parent"]


def test_what_stands_above_a_sweep_is_made_once(make: Planner) -> None:
    plan = make(f"models.base.train.lr={LR}")
    assert len(steps(plan, StepKind.SOURCE)) == 1
    assert len(steps(plan, StepKind.TOKENIZER)) == 1
    assert len(steps(plan, StepKind.ENCODE)) == 2


def test_a_step_above_a_sweep_does_not_say_that_it_belongs_to_one_of_its_points(make: Planner) -> None:
    assert "start of base" in labels(make(f"models.base.train.lr={LR}"))


def test_the_parent_of_a_model_may_be_swept(make: Planner) -> None:
    text = SPEC.replace("  two: {from: base,", "  two: {from: {sweep: [base, one@3]},")
    plan = make(spec=text)
    base, one = step(plan, "train base").fingerprint, step(plan, "train one").fingerprint
    assert [found.inputs["parent"] for found in trained(plan, "two")] == [
        ArtifactRef(base),
        ArtifactRef(one, "step-3"),
    ]


def test_a_sweep_below_one_value_of_another_belongs_to_that_value_only(make: Planner) -> None:
    text = SPEC.replace("  two: {from: base,", "  two: {from: {sweep: [base, one]},")
    plan = make(f"models.one.train.lr={LR}", spec=text)
    assert len(trained(plan, "two")) == 1 + 3


# ----------------------------------------------------------------------------------------------------- sweeps in tasks


def test_a_sweep_in_a_task_is_a_sweep_of_what_reads_it(make: Planner) -> None:
    plan = make("tasks.program.seed={sweep: [0, 1]}", "metrics.math={use: cross_entropy, on: math, of: average}")
    assert len(steps(plan, StepKind.TASK)) == 3
    assert len(trained(plan, "base")) == 2, "it trains on the task"
    assert [dict(found.parameters) for found in measurements(plan, "math")] == [
        {"program_seed": 0},
        {"program_seed": 1},
    ], "its training makes the average another, not the task"
    for found in measurements(plan, "loss"):
        measured = plan.steps[found.fingerprint]
        assert parameter(plan, measured.inputs["task"], "seed") == found.parameters["program_seed"]


def parameter(plan: Plan, ref: ArtifactRef, name: str) -> Any:
    component = plan.steps[ref.fingerprint].component
    assert component is not None
    return component.params[name]


def test_a_task_that_only_a_metric_reads_does_not_train_anything_again(make: Planner) -> None:
    text = SPEC.replace("tasks:\n", "tasks:\n  exam: {use: word_problems, train: 60, seed: {sweep: [1, 2]}}\n")
    plan = make("metrics.exam={use: cross_entropy, on: exam, of: [average, one]}", spec=text)
    assert len(steps(plan, StepKind.TRAIN)) == 3
    assert len(measurements(plan, "exam")) == 4
    assert {found.parameters["exam_seed"] for found in measurements(plan, "exam")} == {1, 2}
    assert [dict(found.parameters) for found in measurements(plan, "cka")] == [{}]


# --------------------------------------------------------------------------------------------------- sweeps in metrics


def test_a_sweep_in_a_metric_measures_everything_once_for_each_value(make: Planner) -> None:
    plan = make("metrics.loss.tokens={sweep: [64, 128]}", "merges.blend.alpha={sweep: [0.25, 0.5]}")
    assert points(plan, "average") == [{"tokens": 64}, {"tokens": 128}]
    assert points(plan, "blend") == [{"alpha": a, "tokens": n} for n in (64, 128) for a in (0.25, 0.5)]
    assert len(merged(plan, "average")) == 1
    assert all(found.fingerprint in plan.steps for found in measurements(plan))


def params(found: Step) -> Mapping[str, Any]:
    assert found.component is not None
    return found.component.params


def test_the_values_of_a_measurement_are_those_of_its_step(make: Planner) -> None:
    plan = make(
        "metrics.loss.tokens={sweep: [64, 128]}", "merges.blend.alpha={sweep: [0.25, 0.5]}", "metrics.loss.of=blend"
    )
    for found in measurements(plan, "loss"):
        measured = plan.steps[found.fingerprint]
        network = plan.steps[measured.inputs["network"].fingerprint]
        assert params(measured)["tokens"] == found.parameters["tokens"]
        assert params(network)["alpha"] == found.parameters["alpha"]
