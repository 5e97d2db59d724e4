"""The values of sweeps, the axes that they span, and the columns that they have in the results."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compat_spec.results.views import FIXED_COLUMNS
from compat_spec.spec import Axis, Spec, load
from compat_spec.spec.axes import RESERVED
from compat_spec.spec.sweeps import _linear_range, _log_range
from tests.spec.conftest import GOOD

Write = Callable[..., Path]


def alpha(write: Write, sweep: str) -> list[Any]:
    spec = load(write(GOOD.replace("alpha: {sweep: [0.25, 0.5]}, at: {sweep: [5, 20]}", f"alpha: {{sweep: {sweep}}}")))
    (axis,) = spec.merges["blend"].axes
    return [value for (value,) in axis.values]


@pytest.mark.parametrize(
    ("sweep", "values"),
    [
        ("[0.5, [0.1, 0.9]]", [0.5, [0.1, 0.9]]),
        ("{from: 0, to: 1, num: 11}", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ("{from: 1, to: 0, num: 3}", [1.0, 0.5, 0.0]),
        ("{from: 0, to: 1, num: 4}", [0.0, 0.333333333333, 0.666666666667, 1.0]),
        ("{from: 0.3, to: 1, num: 1}", [0.3]),
        ("{from: 1e-4, to: 1e-2, num: 3, scale: log}", [1e-4, 1e-3, 1e-2]),
        ("{from: 1, to: 0.25, num: 3, scale: log}", [1.0, 0.5, 0.25]),
        ("{from: 0, to: 1, num: 2, scale: linear}", [0, 1]),
    ],
)
def test_the_values_of_a_sweep(write: Write, sweep: str, values: list[Any]) -> None:
    assert alpha(write, sweep) == values


def test_whole_numbers_stay_whole(write: Write) -> None:
    spec = load(write(GOOD), ["merges.router.top_k={sweep: {from: 1, to: 3, num: 3}}"])
    (axis,) = spec.merges["router"].axes
    assert axis.values == ((1,), (2,), (3,))
    assert all(type(value) is int for (value,) in axis.values)


numbers = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)


@given(numbers, numbers, st.integers(2, 50))
def test_a_range_has_its_ends_and_equal_steps(start: float, end: float, count: int) -> None:
    values = _linear_range(start, end, count)
    assert len(values) == count
    assert values[0] == pytest.approx(start, rel=1e-11)
    assert values[-1] == pytest.approx(end, rel=1e-11)
    step = (end - start) / (count - 1)
    for index, value in enumerate(values):
        assert value == pytest.approx(start + step * index, abs=1e-11 * max(abs(start), abs(end)) + 1e-300)


@given(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9), st.integers(2, 50))
def test_a_log_range_has_its_ends_and_equal_ratios(start: float, end: float, count: int) -> None:
    values = _log_range(start, end, count)
    assert len(values) == count
    assert (values[0], values[-1]) == (start, end)
    ratio = (end / start) ** (1 / (count - 1))
    for low, high in pairwise(values):
        assert high / low == pytest.approx(ratio, rel=1e-9)


# --------------------------------------------------------------------------------------------------- axes, columns


def axes(spec: Spec) -> dict[str, Axis]:
    sections = (spec.tasks, spec.models, spec.merges, spec.metrics)
    return {axis.name: axis for section in sections for declaration in section.values() for axis in declaration.axes}


def columns(spec: Spec) -> dict[str, tuple[str, ...]]:
    return {name: axis.columns for name, axis in axes(spec).items()}


def test_columns_are_named_after_the_parameters(write: Write) -> None:
    spec = load(
        write(GOOD),
        [
            "merges.router.train.lr={sweep: [1, 2]}",
            "merges.average.models.1={sweep: [code, base]}",
            "metrics.cka.tokens={sweep: [10, 20]}",
            "models.math.train.lr={sweep: [1e-3, 1e-2]}",
            "tasks.math.train={sweep: [100, 200]}",
        ],
    )
    assert columns(spec) == {
        "tasks.math.train": ("math_train",),
        "models.math.train.lr": ("math_train_lr",),
        "merges.average.models.1": ("models_1",),
        "merges.blend.alpha": ("alpha",),
        "merges.blend.at": ("at",),
        "merges.router.train.lr": ("train_lr",),
        "metrics.cka.tokens": ("tokens",),
        "metrics.cka.at": ("at",),
    }
    assert [variant.experts[1].name for variant in spec.merges["average"].variants.values()] == ["code", "base"]


def test_a_column_never_takes_the_name_of_another(write: Write) -> None:
    spec = load(
        write(GOOD),
        [
            "metrics.cka.seed={sweep: [1, 2]}",  # the results have a seed
            "metrics.loss.on={sweep: [code, math]}",  # a word of SQL
            "metrics.loss.tokens={sweep: [10, 20]}",
            "metrics.cka.tokens={sweep: [10, 20]}",  # another metric: never in one row
            "merges.average.models={sweep: [[math, code], [math, base]]}",
            "tasks.math.train={sweep: [100, 200]}",
            "models.math.train={sweep: [{on: math, steps: 20, save_at: [5, 10]}, "
            "{on: math, steps: 30, save_at: [5, 10, 20]}]}",
        ],
    )
    assert columns(spec) == {
        "tasks.math.train": ("math_train",),
        "models.math.train": ("model_math_train",),  # tasks and models may have one name
        "merges.average.models": ("models",),
        "merges.blend.alpha": ("alpha",),
        "merges.blend.at": ("at",),
        "metrics.loss.on": ("loss_on",),
        "metrics.loss.tokens": ("tokens",),
        "metrics.cka.tokens": ("tokens",),
        "metrics.cka.seed": ("cka_seed",),
        "metrics.cka.at": ("at",),
    }


def test_the_columns_of_the_results_are_known() -> None:
    assert FIXED_COLUMNS <= RESERVED


def test_sweeps_with_one_label_vary_together(write: Write) -> None:
    spec = load(
        write(GOOD),
        ["merges.blend.alpha={sweep: [0.1, 0.2], zip: x}", "merges.blend.at={sweep: [5, 10], zip: x}"],
    )
    (axis,) = spec.merges["blend"].axes
    assert (axis.name, axis.columns, axis.values) == (
        "zip:merges.blend.x",
        ("alpha", "at"),
        ((0.1, 5), (0.2, 10)),
    )
    assert [
        (variant.merge.model_dump()["alpha"], variant.experts[0].step)
        for variant in spec.merges["blend"].variants.values()
    ] == [(0.1, 5), (0.2, 10)]


def test_a_label_joins_declarations_of_which_one_uses_the_other(write: Write) -> None:
    lr = "{sweep: [1e-3, 1e-2], zip: lr}"
    spec = load(
        write(GOOD),
        [f"models.math.train.lr={lr}", f"models.code.train.lr={lr}", "merges.blend.alpha={sweep: [0.1, 0.2], zip: lr}"],
    )
    for declaration in (spec.models["math"], spec.models["code"]):
        (axis,) = declaration.axes
        assert axis.name == "zip:lr"
        assert axis.columns == ("math_train_lr", "code_train_lr", "alpha")
        assert axis.values == ((1e-3, 1e-3, 0.1), (1e-2, 1e-2, 0.2))
        assert [variant.trainer.model_dump()["lr"] for variant in declaration.variants.values()] == [1e-3, 1e-2]  # type: ignore[union-attr]


def test_a_label_of_two_merges_does_not_join_them(write: Write) -> None:
    spec = load(
        write(GOOD),
        ["merges.blend.alpha={sweep: [0.1, 0.2], zip: x}", "merges.router.span={sweep: [1, 2], zip: x}"],
    )
    assert columns(spec)["zip:merges.blend.x"] == ("alpha",)
    assert columns(spec)["zip:merges.router.x"] == ("span",)


def test_ten_thousand_points_are_read_in_seconds(write: Write) -> None:
    sweep = "merges.blend.alpha={sweep: {from: 0, to: 1, num: 5000}}"
    assert len(load(write(GOOD), [sweep]).merges["blend"].variants) == 10_000
