"""The steps that a spec becomes: each once, with its inputs, after everything that it needs."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from compat_spec.plan import Plan, Step, StepKind
from compat_spec.store import ArtifactRef
from tests.plan.experiments import SPEC, Planner, labels, measurements, step, steps

SWEPT = (
    "seeds=[0, 1]",
    "models.base.train.lr={sweep: [1e-3, 2e-3]}",
    "merges.blend.at={sweep: [3, 6]}",
)


@pytest.fixture
def small(make: Planner) -> Plan:
    return make()


def test_each_thing_is_a_step_once(small: Plan) -> None:
    assert sorted(labels(small)) == sorted(
        [
            *("examples of math", "examples of program", "tokenizer of base", "tokens of math", "tokens of program"),
            *("start of base", "train base", "train one", "train two"),
            *("merge average", "merge blend", "merge router"),
            *(f"loss of {name} on program" for name in ("base", "one", "two", "average", "blend", "router")),
            "cka of one and two on program",
        ]
    )


def test_a_step_has_what_it_is_made_of_as_inputs(small: Plan) -> None:
    def made_of(label: str) -> dict[str, str]:
        inputs = step(small, label).inputs.items()
        assert all(not ref.part for _, ref in inputs)
        return {role: small.steps[ref.fingerprint].label for role, ref in inputs}

    math, program = "tokens of math", "tokens of program"
    assert made_of("examples of math") == {}
    assert made_of("tokenizer of base") == {"task:math": "examples of math"}
    assert made_of("start of base") == {"tokenizer": "tokenizer of base"}
    assert made_of(program) == {"task": "examples of program", "tokenizer": "tokenizer of base"}
    assert made_of("train base") == {"parent": "start of base", "tokens:math": math, "tokens:program": program}
    assert made_of("train two") == {"parent": "train base", "tokens:program": program}
    assert made_of("merge average") == {"expert:0": "train one", "expert:1": "train two"}
    assert made_of("merge router") == {"expert:0": "train one", "expert:1": "train two", "tokens:program": program}
    assert made_of("loss of average on program") == {
        "network": "merge average",
        "task": "examples of program",
        "tokens": program,
    }
    assert made_of("cka of one and two on program") == {"a": "train one", "b": "train two", "tokens": program}


def test_a_step_knows_what_computes_it(small: Plan) -> None:
    blend, router = step(small, "merge blend"), step(small, "merge router")
    assert blend.component is not None
    assert (blend.component.namespace, blend.use) == ("compat.merges", "activation_interpolation")
    assert blend.component.params["alpha"] == 0.25
    assert blend.trainer is None
    assert router.trainer is not None
    assert (router.trainer.use, router.trainer.params["steps"]) == ("finetune", 4)
    tokens = step(small, "tokens of math")
    assert (tokens.component, tokens.use, tokens.settings) == (None, "", {"score": "all"})


@pytest.mark.parametrize("overrides", [(), SWEPT], ids=["small", "with sweeps and seeds"])
def test_every_step_comes_after_its_inputs(make: Planner, overrides: tuple[str, ...]) -> None:
    plan = make(*overrides)
    done: set[str] = set()
    for key, found in plan.steps.items():
        assert key == found.fingerprint
        assert found.needs() <= done
        done.add(key)


def test_every_step_survives_a_trip_through_json(make: Planner) -> None:
    plan = make(*SWEPT, "metrics.load={use: router_load, on: program}")
    assert {found.kind for found in plan.steps.values()} == set(StepKind)
    for found in plan.steps.values():
        again = Step.from_data(json.loads(json.dumps(found.to_data())))
        assert again == found
        assert isinstance(again.kind, StepKind)
        assert all(isinstance(ref, ArtifactRef) for ref in again.inputs.values())


def test_planning_twice_gives_the_same(make: Planner) -> None:
    first, second = make(*SWEPT), make(*SWEPT)
    assert first == second
    assert list(first.steps) == list(second.steps)


def test_the_results_are_what_nothing_else_uses(small: Plan) -> None:
    results = [small.steps[key].label for key in small.results()]
    measured = [found.label for found in small.steps.values() if found.kind in (StepKind.MEASURE, StepKind.COMPARE)]
    assert results == measured


def test_a_merge_of_merges_comes_after_them_and_moves_with_their_sweeps(make: Planner) -> None:
    twice = "merges.twice={use: ties, models: [average, two], base: average}"
    lengths = (
        "merges.average.dtype={sweep: [float32, bfloat16], zip: a}",
        "merges.twice.dtype={sweep: [float32, bfloat16]}",
    )
    plan = make(twice, *lengths, "metrics.loss.of=twice")
    for inner in ("float32", "bfloat16"):
        average = step(plan, f"merge average (dtype {inner})").fingerprint
        for outer in ("float32", "bfloat16"):
            made = step(plan, f"merge twice (twice_dtype {outer}, dtype {inner})")
            assert [made.inputs[role].fingerprint for role in ("expert:0", "model:average")] == [average] * 2
    plan = make(twice, *lengths, "merges.twice.dtype.zip=a", "metrics.loss.of=twice")
    kinds = [{"dtype": kind, "twice_dtype": kind} for kind in ("float32", "bfloat16")]
    assert [each.parameters for each in measurements(plan, "loss")] == kinds


def test_what_is_not_measured_is_a_result_itself(make: Planner) -> None:
    plan = make("metrics=null")
    assert {plan.steps[key].label for key in plan.results()} == {"merge average", "merge blend", "merge router"}
    plan = make("metrics=null", "merges=null")
    assert {plan.steps[key].label for key in plan.results()} == {"train one", "train two"}


def test_a_task_that_nothing_uses_is_made_all_the_same(make: Planner) -> None:
    plan = make(spec="tasks:\n  math: {use: word_problems}\n")
    assert labels(plan) == ["examples of math"]
    assert plan.results() == [plan.tasks[0].fingerprint]


def test_an_untrained_model_is_its_start(make: Planner) -> None:
    plan = make(spec=SPEC.replace("    train: {on: {math: 1, program: 2}, steps: 8, batch_size: 2, context: 32}\n", ""))
    start = ArtifactRef(step(plan, "start of base").fingerprint)
    assert "train base" not in labels(plan)
    assert step(plan, "train one").inputs["parent"] == start
    assert step(plan, "loss of base on program").inputs["network"] == start


def test_the_work_of_a_step_is_three_passes_over_its_tokens(small: Plan) -> None:
    assert step(small, "train base").tokens == 8 * 2 * 32
    assert step(small, "train base").work == 3 * 8 * 2 * 32
    assert step(small, "merge router").tokens == 4 * 2 * 32
    assert {found.tokens for found in steps(small, StepKind.MEASURE)} == {None}
    assert step(small, "merge average").work > 0


def test_it_remembers_the_spec(make: Planner) -> None:
    plan = make()
    assert (plan.experiment, plan.spec_text) == ("small", SPEC)
    assert plan.spec_path.endswith("small.yaml")


# --------------------------------------------------------------------------------------------------- descriptions


def test_models_have_roles(make: Planner) -> None:
    plan = make("models.three={from: one@3, train: {on: math, steps: 2}}", "merges.pair={use: linear, models: [two]}")
    roles = {model.name: (model.role, model.use, model.parent, model.experts) for model in plan.models}
    assert roles == {
        "base": ("base", "causal_lm", None, ()),
        "one": ("base", None, "base", ()),  # another descends from it
        "two": ("expert", None, "base", ()),
        "three": ("fine-tuned", None, "one@3", ()),
        "average": ("merge", "linear", None, ("one", "two")),
        "blend": ("merge", "activation_interpolation", None, ("one", "two")),
        "router": ("merge", "routing", None, ("one", "two")),
        "pair": ("merge", "linear", None, ("two",)),
    }


def test_models_and_tasks_have_their_parameters_defaults_included(small: Plan) -> None:
    of = {model.name: model.parameters for model in small.models}
    assert set(of["base"]) == {"source", "train"}
    assert of["base"]["source"]["tokenizer"]["vocab_size"] == 300
    assert of["one"]["train"]["save_at"] == [3]
    assert of["router"]["merge"]["span"] == 1
    assert of["router"]["train"]["steps"] == 4
    math, program = small.tasks
    assert (math.name, math.use, math.parameters["train"]) == ("math", "word_problems", 60)
    assert (program.name, program.parameters["seed"]) == ("program", 0)
    assert small.steps[math.fingerprint].label == "examples of math"


# --------------------------------------------------------------------------------------------------------- labels


def test_labels_tell_seeds_and_points_of_sweeps_apart(make: Planner) -> None:
    plan = make(*SWEPT)
    assert "merge blend (at 3, base_train_lr 0.001, seed 1)" in labels(plan)
    assert "train base (base_train_lr 0.002, seed 0)" in labels(plan)
    assert "tokens of math" in labels(plan)
    assert max(Counter(labels(plan)).values()) == 1
