"""What changes a fingerprint, and so what is computed again: everything that decides a result, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from compat_plugins.merges.linear import Linear
from compat_spec import registry
from compat_spec.plan import Plan, StepKind
from tests.plan.experiments import SPEC, Planner, changed, labels, measurements, step, steps

BASE = {"start of base", "train base"}
EXPERTS = {"train one", "train two"}
MERGES = {"merge average", "merge blend", "merge router"}
TRAINED = ("base", "one", "two", "average", "blend", "router")


def losses(*names: str) -> set[str]:
    return {f"loss of {name} on program" for name in names}


CKA = {"cka of one and two on program"}
EXAMPLES = {"examples of math", "examples of program"}
DATA = EXAMPLES | {"tokenizer of base", "tokens of math", "tokens of program"}
BELOW_BASE = EXPERTS | MERGES | losses(*TRAINED) | CKA


@pytest.fixture
def small(make: Planner) -> Plan:
    return make()


# --------------------------------------------------------------------------------------- what a change computes again


@pytest.mark.parametrize(
    ("override", "again"),
    [
        ("merges.blend.alpha=0.3", {"merge blend", *losses("blend")}),
        ("merges.average.weight=[3, 1]", {"merge average", *losses("average")}),
        ("merges.average.models=[two, one]", {"merge average", *losses("average")}),
        ("merges.average.models=[one, two, base]", {"merge average", *losses("average")}),
        ("merges.average.models=[one@3, two]", {"merge average", *losses("average")}),
        ("merges.router.train.lr=0.1", {"merge router", *losses("router")}),
        ("merges.router.train.on=math", {"merge router", *losses("router")}),
        ("metrics.loss.tokens=128", losses(*TRAINED)),
        ("metrics.cka.seed=1", CKA),
        ("models.one.train.steps=7", {"train one"} | MERGES | losses("one", "average", "blend", "router") | CKA),
        ("models.two.train.lr=0.1", {"train two"} | MERGES | losses("two", "average", "blend", "router") | CKA),
        ("models.one.train.update=mlp", {"train one"} | MERGES | losses("one", "average", "blend", "router") | CKA),
        ("models.base.train.lr=0.1", {"train base"} | BELOW_BASE),
        ("models.base.train.on.program=3", {"train base"} | BELOW_BASE),
        ("models.base.config.n_embd=8", BASE | BELOW_BASE),
        ("models.base.tokenizer.vocab_size=310", (DATA - EXAMPLES) | BASE | BELOW_BASE),
        ("tasks.program.train=61", {"examples of program", "tokens of program", "train base"} | BELOW_BASE),
        ("tasks.math.seed=1", (DATA | BASE | BELOW_BASE) - {"examples of program"}),
        ("tasks.program.score=answer", {"examples of program", "tokens of program", "train base"} | BELOW_BASE),
    ],
)  # fmt: skip
def test_a_change_computes_again_what_depends_on_it(make: Planner, small: Plan, override: str, again: set[str]) -> None:
    after = make(override)
    assert changed(small, after) == again
    assert set(labels(after)) == set(labels(small))


@pytest.mark.parametrize(
    "override",
    [
        "name=another",
        "description=Words.",
        "models.one.train.lr=1e-3",  # the default, and said in another way
        "models.one.train.lr=0.001",
        "models.one.train.use=finetune",
        "models.base.train.on={math: 1.0, program: 2.0}",
        "models.one.train.save_at=[3, 3]",
        "merges.average.normalize=true",
        "merges.average.at=6",  # where they stand anyway
        "merges.average.models=[one@6, two@6]",
        "metrics.loss.of=all",
        "metrics.loss.split=test",
        "metrics.cka.between=[one@6, two]",
    ],
)
def test_what_means_the_same_is_not_computed_again(make: Planner, small: Plan, override: str) -> None:
    assert set(make(override).steps) == set(small.steps)


@pytest.mark.parametrize(
    ("override", "added"),
    [
        ("merges.more={use: slerp, models: [one, two]}", {"merge more", *losses("more")}),
        ("metrics.more={use: token_accuracy, on: program}", {f"more of {name} on program" for name in TRAINED}),
        ("metrics.loss.on=[program, math]", {f"loss of {name} on math" for name in TRAINED}),
        ("metrics.loss.of=[base]", set()),
        ("merges.blend=null", set()),
        ("tasks.more={use: word_problems, seed: 5}", {"examples of more"}),
        (
            "models.more={from: one, train: {on: math, steps: 2, context: 32}}",
            {"train more", *losses("more")},
        ),
    ],
)
def test_what_is_added_or_left_out_changes_nothing_else(
    make: Planner, small: Plan, override: str, added: set[str]
) -> None:
    assert changed(small, make(override)) == added


# ------------------------------------------------------------------------------------------------ names and order


def renamed(text: str) -> str:
    """The spec with other names for everything that has one, which mean the same."""
    others = {"math": "sums", "program": "code", "base": "ancestor", "one": "left", "two": "right", "average": "middle"}
    others |= {"blend": "mixed", "router": "chooser", "loss": "nats", "cka": "likeness", "small": "big"}
    for name, other in others.items():
        text = re.sub(rf"(?<!use: )\b{name}\b", other, text)
    return text


def test_names_change_no_fingerprint(make: Planner, small: Plan) -> None:
    other = make(spec=renamed(SPEC))
    assert set(other.steps) == set(small.steps)
    assert not set(labels(other)) & set(labels(small))
    assert {found.model for found in measurements(other)} == {
        None, "ancestor", "left", "right", "middle", "mixed", "chooser"
    }  # fmt: skip


def reordered(value: Any) -> Any:
    """The same mappings, with their keys in the opposite order.

    The order of a list means something, and that of the tasks of a mixture: training reads them in turn.
    """
    if isinstance(value, dict):
        return {key: inner if key == "on" else reordered(inner) for key, inner in reversed(value.items())}
    return value


def test_the_order_of_keys_changes_no_fingerprint(make: Planner, small: Plan) -> None:
    document = reordered(yaml.safe_load(re.sub(r"\bon:", '"on":', SPEC)))
    text = yaml.dump(document, sort_keys=False)
    assert text.index("metrics:") < text.index("tasks:"), "it is another order"
    other = make(spec=text)
    assert set(other.steps) == set(small.steps)
    assert list(other.steps) != list(small.steps)


def test_the_order_of_parts_of_tensor_names_matters_as_the_first_that_fits_decides(make: Planner) -> None:
    one, other = (
        make(f"merges.average.weight={weight}")
        for weight in ("{attn: 1, c_proj: 0.2, '*': 0.5}", "{c_proj: 0.2, attn: 1, '*': 0.5}")
    )
    assert "merge average" in changed(one, other)


def test_the_order_of_the_tasks_of_a_mixture_matters_as_training_reads_them_in_turn(make: Planner, small: Plan) -> None:
    other = make("models.base.train.on={program: 2, math: 1}")
    assert "train base" in changed(small, other)


# ----------------------------------------------------------------------------------------------------------- sharing


def test_two_merges_of_the_same_models_share_them(make: Planner) -> None:
    plan = make("merges.copy={use: linear, models: [one, two]}")
    assert labels(plan).count("merge average") == 1
    assert "merge copy" not in labels(plan), "it is the same step"
    by_model = {found.model: found.fingerprint for found in measurements(plan, "loss")}
    assert by_model["copy"] == by_model["average"]
    assert len(steps(plan, StepKind.TRAIN)) == 3


def test_two_metrics_that_are_the_same_are_measured_once(make: Planner, small: Plan) -> None:
    plan = make("metrics.again={use: cross_entropy, on: program, tokens: 256}")
    assert set(plan.steps) == set(small.steps)
    assert {found.fingerprint for found in measurements(plan, "again")} == {
        found.fingerprint for found in measurements(plan, "loss")
    }


def test_two_models_that_are_the_same_are_trained_once(make: Planner) -> None:
    plan = make("models.two={from: base, train: {on: math, steps: 6, save_at: [3], batch_size: 2, context: 32}}")
    assert [found.label for found in steps(plan, StepKind.TRAIN)] == ["train base", "train one"]
    one, two = step(plan, "merge average").inputs.values()
    assert one == two


def test_bases_of_one_tokenizer_share_the_tokens(make: Planner) -> None:
    wide = SPEC.replace("models:\n", "models:\n" + source("wide", "n_embd: 32"))
    plan = make(spec=wide)
    assert len(steps(plan, StepKind.TOKENIZER)) == 1
    assert len(steps(plan, StepKind.ENCODE)) == 2
    assert len(steps(plan, StepKind.SOURCE)) == 2
    plan = make("models.wide.tokenizer.vocab_size=290", spec=wide)
    assert len(steps(plan, StepKind.TOKENIZER)) == 2
    assert len(steps(plan, StepKind.ENCODE)) == 3, "the program for both, math for the one that trains on it"


def source(name: str, config: str) -> str:
    return (
        f"  {name}: {{use: causal_lm, config: {{model_type: gpt2, n_layer: 2, {config}, n_head: 2, n_positions: 64}}, "
        "tokenizer: {train_on: [math], vocab_size: 300}}\n"
    )


# ------------------------------------------------------------------------------------------------------------- seeds


def test_seeds_share_the_data_and_train_apart(make: Planner) -> None:
    plan = make("seeds=[0, 1, 2]")
    count = {kind: len(steps(plan, kind)) for kind in StepKind}
    assert count == {
        StepKind.TASK: 2,
        StepKind.TOKENIZER: 1,
        StepKind.ENCODE: 2,
        StepKind.SOURCE: 3,
        StepKind.TRAIN: 9,
        StepKind.MERGE: 9,
        StepKind.MEASURE: 18,
        StepKind.COMPARE: 3,
    }
    assert [found.seed for found in steps(plan, StepKind.SOURCE)] == [0, 1, 2]
    assert {found.seed for found in steps(plan, StepKind.ENCODE)} == {None}


def test_one_seed_of_several_is_that_seed_alone(make: Planner) -> None:
    both, zero, one = make("seeds=[0, 1]"), make("seeds=[0]"), make("seeds=[1]")
    assert set(both.steps) == set(zero.steps) | set(one.steps)
    shared = {zero.steps[key].label for key in set(zero.steps) & set(one.steps)}
    assert shared == DATA


def test_a_merge_without_chance_has_no_seed_of_its_own(make: Planner) -> None:
    plan = make()
    assert step(plan, "merge average").seed is None
    assert step(plan, "merge router").seed == 0


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """As much of a ready model as planning looks at."""
    folder = tmp_path / "ready"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_embd": 16}))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}}))
    (folder / "model.safetensors").write_bytes(b"1")
    return folder


READY = """\
seeds: [0, 1]
tasks:
  math: {use: word_problems, train: 60, test: 20}
models:
  ready: {use: causal_lm, path: ready}
metrics:
  loss: {use: cross_entropy, on: math}
"""


def test_what_no_seed_changes_is_computed_once_and_counts_for_each_seed(make: Planner, model_folder: Path) -> None:
    plan = make(spec=READY)
    assert [found.kind for found in plan.steps.values()].count(StepKind.MEASURE) == 1
    assert [found.seed for found in measurements(plan)] == [0, 1]
    assert len({found.fingerprint for found in measurements(plan)}) == 1


def test_another_content_of_a_folder_is_another_model(make: Planner, model_folder: Path) -> None:
    before = make(spec=READY)
    (model_folder / "model.safetensors").write_bytes(b"2!")
    assert "start of ready" in changed(before, make(spec=READY))


# -------------------------------------------------------------------------------------------------------------- code


def test_a_new_version_of_a_component_computes_its_steps_again(
    make: Planner, small: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Linear, "version", "2")
    registry.source_identity.cache_clear()
    try:
        assert changed(small, make()) == {"merge average", *losses("average")}
    finally:
        registry.source_identity.cache_clear()


PLAN = """
import json, sys
from compat_spec.plan import make_plan
from compat_spec.spec import load
plan = make_plan(load(sys.argv[1], sys.argv[2:]))
print(json.dumps([list(plan.steps), "torch" in sys.modules]))
"""


def test_another_process_finds_the_same_fingerprints_in_the_same_order_without_torch(
    make: Planner, tmp_path: Path
) -> None:
    overrides = ("seeds=[0, 1]", "models.base.train.on={math: 1, program: 2}", "merges.blend.at={sweep: [3, 6]}")
    here = make(*overrides)
    done = subprocess.run(
        [sys.executable, "-c", PLAN, str(tmp_path / "small.yaml"), *overrides],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [list(here.steps), False]
