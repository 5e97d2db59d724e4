"""The JSON Schema that editors use agrees with `load`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from compat_spec import registry
from compat_spec.spec.compose import compose
from compat_spec.spec.problems import Problems
from compat_spec.spec.schema import json_schema
from tests.spec.conftest import GOOD

SPECS = sorted(Path(__file__).parents[2].joinpath("specs").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    schema = json_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


@pytest.fixture
def errors_of(validator: jsonschema.Draft7Validator, write: Callable[..., Path]) -> Callable[[str], set[str]]:
    """The paths at which the schema finds a text wrong."""

    def find(text: str) -> set[str]:
        problems = Problems()
        document = compose(write(text), (), problems)
        assert document is not None, list(map(str, problems))
        errors = validator.iter_errors(document.plain())
        return {".".join(map(str, error.absolute_path)) for error in errors}

    return find


def test_good_specs_pass(errors_of: Callable[[str], set[str]]) -> None:
    assert errors_of(GOOD) == set()
    for path in SPECS:
        if "extends:" not in path.read_text("utf-8"):
            assert errors_of(path.read_text("utf-8")) == set(), path.name


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("name: good", "nam: good", ""),
        ("version: 1", "version: 2", "version"),
        ("seeds: [0, 1]", "seeds: [0, 0]", "seeds"),
        ("use: word_problems", "use: word_problms", "tasks.math.use"),
        ("use: word_problems", "use: cka", "tasks.math.use"),
        ("use: word_problems", "use: word_problems, scor: all", "tasks.math"),
        ("use: word_problems", "use: word_problems, score: anwser", "tasks.math.score"),
        ("  math: {use: word_problems}", "  math: {}", "tasks.math"),
        ("  math: {use: word_problems}", "  math: 3", "tasks.math"),
        ("  math: {use: word_problems}", "  m@1: {use: word_problems}", "tasks"),
        ("{from: base, train: {on: math", "{from: base, lr: 3, train: {on: math", "models.math"),
        ("{from: base, train: {on: math", "{from: base, train: {onn: math", "models.math.train"),
        ("{from: base, train: {on: math", "{from: base, train: {use: fintune, on: math", "models.math.train.use"),
        ("{on: math, steps: 20,", "{on: math, steps: 0,", "models.math.train.steps"),
        ("{use: linear, models: [math, code]}", "{use: linear}", "merges.average"),
        ("{use: linear, models: [math, code]}", "{use: linear, models: []}", "merges.average.models"),
        ("{use: linear, models: [math, code]}", "{use: linear, models: [math], train: {}}", "merges.average"),
        ("base], train: {on: code, steps: 2}}", "base]}", "merges.router"),
        ("alpha: {sweep: [0.25, 0.5]}", "alpha: {sweep: []}", "merges.blend.alpha"),
        ("alpha: {sweep: [0.25, 0.5]}", "alpha: {sweep: {from: 0, num: 3}}", "merges.blend.alpha"),
        ("alpha: {sweep: [0.25, 0.5]}", "alpha: {sweep: [0.5], zp: a}", "merges.blend.alpha"),
        ("{use: cross_entropy, on: code}", "{use: cross_entropy}", "metrics.loss"),
        ("{use: cross_entropy, on: code}", "{use: cross_entropy, on: code, between: [a, b]}", "metrics.loss"),
        ("between: [math, code]", "between: [math]", "metrics.cka.between"),
        ("between: [math, code], ", "", "metrics.cka"),
    ],
)
def test_what_load_refuses_the_schema_refuses_there(
    errors_of: Callable[[str], set[str]], problems_of: Callable[..., list[str]], old: str, new: str, where: str
) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    assert problems_of(text)
    assert where in errors_of(text)


@pytest.mark.parametrize(
    "change",
    [
        ("steps: 20", "steps: {sweep: [20, 30]}"),
        ("train: {on: {math: 1, code: 1}", "train: {on: {math: {sweep: [1, 2]}, code: 1}"),
        ("models: [math, code, base]", "models: [math, code, {sweep: [base, math]}]"),
        ("n_embd: 32", "n_embd: {sweep: [32]}"),
        ("vocab_size: 300", "vocab_size: {sweep: {from: 300, to: 400, num: 2}, zip: v}"),
        ("on: code, at", "on: {sweep: [code, math]}, at"),
    ],
)
def test_sweeps_may_stand_anywhere(errors_of: Callable[[str], set[str]], change: tuple[str, str]) -> None:
    assert change[0] in GOOD
    assert errors_of(GOOD.replace(*change, 1)) == set()


def test_what_another_spec_declares_may_be_given_in_part(validator: jsonschema.Draft7Validator) -> None:
    part: dict[str, Any] = {
        "extends": "other.yaml",
        "models": {"math": {"train": {"steps": 3}}, "wide": None},
        "merges": {"average": {"models": ["a"]}, "router": {"use": "routing", "span": 2}},
        "metrics": {"loss": {"at": None}},
    }
    del part["metrics"]["loss"]["at"]
    assert list(validator.iter_errors(part)) == []
    del part["extends"]
    assert len(list(validator.iter_errors(part))) > 3


def test_every_plugin_and_parameter_is_described() -> None:
    schema = json_schema()
    for namespace in set(registry.CONTRACTS) - {"compat.executors", "compat.sinks"}:
        for plugin in registry.plugins(namespace):
            if plugin.component is None:
                continue
            definition = schema["definitions"][f"{namespace.removeprefix('compat.')}.{plugin.name}"]
            assert plugin.summary in definition["description"]
            for name in plugin.component.parameters():
                assert definition["properties"][name].get("description"), f"{plugin.name}.{name} has no description"


@pytest.mark.usefixtures("odd_plugins")
def test_a_plugin_that_does_not_load_is_left_out() -> None:
    schema = json_schema()
    assert "tasks.odd_task" in schema["definitions"]
    assert "tasks.odd_missing" not in schema["definitions"]
    jsonschema.Draft7Validator.check_schema(schema)


def test_parameters_of_generic_types_have_short_names() -> None:
    names = [name.rpartition(".")[2] for name in json_schema()["definitions"] if name.startswith("merges.ties.")]
    assert names == ["Gradient", "Gradient2"]
