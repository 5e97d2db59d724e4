"""The merges on the sphere: nuslerp, multislerp and karcher, against their definitions in float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from compat_plugins.merges.karcher import Karcher
from compat_plugins.merges.multislerp import Multislerp
from compat_plugins.merges.nuslerp import Nuslerp
from compat_spec.components import TensorMerge
from compat_spec.errors import CompatError
from compat_spec.nn import pieces
from tests.plugins.merges.tensors import SHAPES, close, merged, some, tuned

ALL: list[type[TensorMerge]] = [Nuslerp, Multislerp, Karcher]
DTYPES = [torch.float64, torch.float32, torch.bfloat16]


@pytest.fixture(params=[7, 1 << 18], ids=["in pieces", "whole"])
def pieces_of_two_sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", request.param)


in_pieces_too = pytest.mark.usefixtures("pieces_of_two_sizes")


# ----------------------------------------------------------------------------------------------------------- nuslerp


def slerped(a: Sequence[float], b: Sequence[float], t: float) -> list[float]:
    """Two vectors, as lists of numbers."""
    norms = math.hypot(*a), math.hypot(*b)
    cosine = sum(x * y for x, y in zip(a, b, strict=True)) / (norms[0] * norms[1]) if min(norms) else 0.0
    if 1 - abs(cosine) < 1e-14:
        return [(1 - t) * x + t * y for x, y in zip(a, b, strict=True)]
    angle = math.acos(cosine)
    first, second = math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
    return [first * x + second * y for x, y in zip(a, b, strict=True)]


def along(tensors: Sequence[Tensor], dim: int | None, t: float) -> Tensor:
    """Interpolated vector by vector along a dimension, or as a whole."""
    a, b = (tensor.double() for tensor in tensors)
    result = torch.empty_like(a)
    if dim is None or a.dim() == 0:
        flat = slerped(a.flatten().tolist(), b.flatten().tolist(), t)
        return torch.tensor(flat, dtype=torch.float64).view(a.shape)
    x, y, z = (tensor.movedim(dim, -1) for tensor in (a, b, result))
    for index in itertools.product(*map(range, x.shape[:-1])):
        z[index] = torch.tensor(slerped(x[index].tolist(), y[index].tolist(), t), dtype=torch.float64)
    return result


@in_pieces_too
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (13,), (5, 3), (2, 3, 5), (0,)])
@pytest.mark.parametrize("weight", [[0.7, 0.2], [1.0, 3.0]])
def test_nuslerp_of_whole_tensors(shape, dtype, weight):
    tensors, base = tuned(2, shape, dtype)
    t = weight[1] / sum(weight)
    close(merged(Nuslerp, tensors, weight=weight), along(tensors, None, t))
    deltas = [tensor.double() - base.double() for tensor in tensors]
    close(merged(Nuslerp, tensors, base, weight=weight), base.double() + along(deltas, None, t))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(13,), (5, 3), (2, 3, 5), (4, 0)])
@pytest.mark.parametrize("row_wise", [False, True])
def test_nuslerp_of_single_vectors(shape, dtype, row_wise):
    tensors = [some(shape, seed).to(dtype) for seed in range(2)]
    result = merged(Nuslerp, tensors, weight=[0.7, 0.2], nuslerp_flatten=False, nuslerp_row_wise=row_wise)
    close(result, along(tensors, 0 if row_wise else -1, 0.2 / 0.9))


def test_nuslerp_of_weights_that_cancel_out_takes_the_middle():
    tensors, _ = tuned(2)
    assert merged(Nuslerp, tensors, weight=[1, -1]).equal(merged(Nuslerp, tensors, weight=0.3))


@pytest.mark.parametrize("factor", [-1.0, 0.01, 1e-4])
def test_nuslerp_knows_only_the_ratio_of_weights(factor):
    tensors, _ = tuned(2)
    expected = merged(Nuslerp, tensors, weight=[0.7, 0.2])
    torch.testing.assert_close(merged(Nuslerp, tensors, weight=[0.7 * factor, 0.2 * factor]), expected)


@pytest.mark.parametrize("flatten", [True, False])
def test_nuslerp_goes_straight_between_opposite_vectors(flatten):
    a = some()
    result = merged(Nuslerp, [a, a * -2], weight=[3, 1], nuslerp_flatten=flatten)
    torch.testing.assert_close(result, a * (0.75 - 0.5))


@pytest.mark.parametrize("cls", [Nuslerp, Multislerp, Karcher])
def test_nearly_opposite_vectors_still_have_an_arc(cls):
    angle = math.pi - 0.004
    first, middle, last = (
        torch.tensor([math.cos(one), math.sin(one)], dtype=torch.float64) for one in (0, angle / 2, angle)
    )
    torch.testing.assert_close(merged(cls, [first, last]), middle, rtol=0, atol=1e-5)


@pytest.mark.parametrize("flatten", [True, False])
def test_nuslerp_counts_small_and_negative_weights_and_small_vectors_by_their_ratio(flatten):
    tensors = [some((5, 7), seed) for seed in range(2)]
    expected = merged(Nuslerp, tensors, weight=[1, 3], nuslerp_flatten=flatten)
    for weight in ([1e-3, 3e-3], [-1, -3]):
        torch.testing.assert_close(merged(Nuslerp, tensors, weight=weight, nuslerp_flatten=flatten), expected)
    small = merged(Nuslerp, [tensor * 1e-5 for tensor in tensors], weight=[1, 3], nuslerp_flatten=flatten)
    torch.testing.assert_close(small * 1e5, expected)


@pytest.mark.parametrize("flatten", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nuslerp_at_the_ends_is_a_model_to_the_bit(flatten, dtype):
    tensors = [some((5, 3), seed).to(dtype) for seed in range(2)]
    assert merged(Nuslerp, tensors, weight=[0.3, 0], nuslerp_flatten=flatten).equal(tensors[0])
    assert merged(Nuslerp, tensors, weight=[0, 0.3], nuslerp_flatten=flatten).equal(tensors[1])


# -------------------------------------------------------------------------------------------------------- multislerp


def by_tangents(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """As it is defined: to the mean direction, along the mean of the tangents there, times the mean of the norms."""
    vectors = [tensor.double().flatten() for tensor in tensors]
    units = [vector / vector.norm() for vector in vectors]
    mean = sum(weight * unit for weight, unit in zip(weights, units, strict=True))
    assert isinstance(mean, Tensor)
    mean = mean / mean.norm()
    way = sum(weight * (unit - (unit @ mean) * mean) for weight, unit in zip(weights, units, strict=True))
    assert isinstance(way, Tensor)
    length = float(way.norm()) + 1e-300
    point = mean * math.cos(length) + way * (math.sin(length) / length)
    norm = sum(weight * float(vector.norm()) for weight, vector in zip(weights, vectors, strict=True))
    return (point * norm).view(tensors[0].shape)


@in_pieces_too
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(13,), (5, 3), (2, 3, 5)])
@pytest.mark.parametrize("normalize", [True, False])
def test_multislerp_by_its_definition(shape, dtype, normalize):
    tensors, base = tuned(3, shape, dtype)
    tensors[1] = tensors[1] * 3
    weights = [0.7, -0.2, 0.4]
    shares = [weight / sum(weights) for weight in weights] if normalize else weights
    parameters = {"weight": weights, "normalize_weights": normalize, "eps": 1e-12}
    close(merged(Multislerp, tensors, **parameters), by_tangents(tensors, shares))
    deltas = [tensor.double() - base.double() for tensor in tensors]
    close(merged(Multislerp, tensors, base, **parameters), base.double() + by_tangents(deltas, shares))


def test_multislerp_of_opposite_models_goes_straight_and_of_more_has_no_direction():
    a = some()
    torch.testing.assert_close(merged(Multislerp, [a, a * -2], weight=1), a * -0.5)
    with pytest.raises(CompatError, match=r"directions of h\.0\.weight cancel each other out"):
        merged(Multislerp, [a, -a, torch.zeros_like(a)])
    assert merged(Multislerp, [torch.zeros_like(a)] * 3).equal(torch.zeros_like(a))


def test_multislerp_of_nearly_opposite_models_follows_what_is_left_of_their_mean():
    tensors = [some(), -some() + 1e-3 * some(seed=1)]
    assert float((merged(Multislerp, tensors, eps=1e-12) - by_tangents(tensors, [0.5, 0.5])).abs().max()) < 1e-8


def test_multislerp_adds_eps_to_norms():
    tensors, weights = [some(), some(seed=1) * 0.1, some(seed=2)], [0.2, 0.7, 0.1]
    parts = [weight * tensor / (tensor.norm() + 0.1) for weight, tensor in zip(weights, tensors, strict=True)]
    mean = torch.stack(parts).sum(0)
    norm = sum(weight * float(tensor.norm()) for weight, tensor in zip(weights, tensors, strict=True))
    close(merged(Multislerp, tensors, weight=weights, eps=0.1), mean / mean.norm() * norm)


def test_multislerp_of_one_model_is_the_model():
    tensors, base = tuned(1)
    assert merged(Multislerp, tensors, base, weight=0.3).equal(tensors[0])


def test_multislerp_of_a_model_that_has_all_the_weight_is_the_model():
    tensors, _ = tuned(3, dtype=torch.float32)
    assert merged(Multislerp, tensors, weight=[0, 0.7, 0]).equal(tensors[1])


# ----------------------------------------------------------------------------------------------------------- karcher


def karcher_mean(tensors: Sequence[Tensor]) -> Tensor:
    """Found by following the gradient of half the mean squared angle, in small steps, until it is zero."""
    vectors = [tensor.double().flatten() for tensor in tensors]
    units = [vector / vector.norm() for vector in vectors]
    point = units[0]
    for _ in range(1000):
        way = torch.zeros_like(point)
        for unit in units:
            angle = math.acos(max(-1.0, min(1.0, float(point @ unit))))
            if angle > 1e-12:
                tangent = unit - (point @ unit) * point
                way += angle * tangent / tangent.norm() / len(units)
        point = point + 0.3 * way
        point = point / point.norm()
    norm = sum(float(vector.norm()) for vector in vectors) / len(vectors)
    return (point * norm).view(tensors[0].shape)


@in_pieces_too
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(13,), (5, 3), (2, 3, 5)])
def test_karcher_has_the_least_squared_angles(shape, dtype):
    tensors = [some(shape, 9).add(some(shape, seed)).mul(seed + 1).to(dtype) for seed in range(4)]
    close(merged(Karcher, tensors, max_iter=1000, tol=1e-15), karcher_mean(tensors))


def test_karcher_of_two_models_is_in_the_middle_of_the_arc():
    a, b = some((13,), 0), some((13,), 1)
    close(merged(Karcher, [a, b]), (a / a.norm() + b / b.norm()) * _length(a, b))


def _length(a: Tensor, b: Tensor) -> float:
    return float((a.norm() + b.norm()) / 2 / (a / a.norm() + b / b.norm()).norm())


def test_karcher_stops_after_max_iter_or_at_tol():
    tensors = [some((13,), 9) * 0.3 + some((13,), seed) for seed in range(4)]
    exact = karcher_mean(tensors)
    errors = [float((merged(Karcher, tensors, max_iter=n, tol=1e-12) - exact).norm()) for n in (1, 2, 4, 50)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-4
    assert errors[-1] < 1e-9
    loose = merged(Karcher, tensors, max_iter=50, tol=0.5)
    assert float((loose - exact).norm()) > errors[0]


def test_karcher_takes_a_step_along_the_mean_logarithm_unless_it_is_shorter_than_tol():
    tensors = [some((13,), 9) * 0.3 + some((13,), seed) for seed in range(4)]
    units = torch.stack([tensor / tensor.norm() for tensor in tensors])
    norm = float(torch.stack([tensor.norm() for tensor in tensors]).mean())
    start = units.mean(0) / units.mean(0).norm()
    cosines = units @ start
    step = ((cosines.acos() / cosines.acos().sin())[:, None] * (units - cosines[:, None] * start)).mean(0)
    length = float(step.norm())
    then = start * math.cos(length) + step * (math.sin(length) / length)
    close(merged(Karcher, tensors, max_iter=1, tol=1e-12), then * norm)
    close(merged(Karcher, tensors, max_iter=50, tol=length * 0.99), then * norm)
    close(merged(Karcher, tensors, max_iter=50, tol=length * 1.01), start * norm)


def test_karcher_counts_a_norm_of_tol_as_no_direction():
    tensors = [some((13,), seed) for seed in range(3)]
    expected = merged(Karcher, tensors[:2], tol=0.1)
    for length, as_without in ((0.0999, True), (0.1001, False)):
        small = tensors[2] * (length / tensors[2].norm())
        cosine = torch.cosine_similarity(merged(Karcher, [*tensors[:2], small], tol=0.1), expected, dim=0)
        assert (float(cosine) > 1 - 1e-12) is as_without


def test_karcher_leaves_out_tensors_without_direction_but_counts_their_norms():
    tensors = [some((13,), seed) for seed in range(3)]
    scaled = merged(Karcher, [*tensors, torch.zeros_like(tensors[0])])
    torch.testing.assert_close(scaled, merged(Karcher, tensors) * 0.75)
    short = merged(Karcher, [*tensors, some((13,), 3) * 1e-6])
    torch.testing.assert_close(short, merged(Karcher, tensors) * 0.75, rtol=1e-4, atol=1e-4)
    assert merged(Karcher, [torch.zeros(3), torch.zeros(3)]).tolist() == [0, 0, 0]


def test_karcher_of_opposite_models_is_the_first_direction():
    a = some()
    torch.testing.assert_close(merged(Karcher, [a, a * -3]), a * 2)


# -------------------------------------------------------------------------------------------------------- invariants


@pytest.mark.parametrize("cls", ALL)
@settings(max_examples=40)
@given(
    # float32's squares must not overflow or vanish in float64, which they cannot; infinities too: masks hold them
    values=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=8),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    count=st.integers(2, 4),
)
def test_a_model_merged_with_itself_is_itself_to_the_bit(cls, values, dtype, count):
    tensor = torch.tensor(values, dtype=dtype)
    if cls is not Multislerp and float(tensor.nan_to_num(0, 0, 0).double().norm()) <= 1e-5:
        return  # it has no direction
    assert merged(cls, [tensor.clone()] * (2 if cls is Nuslerp else count)).equal(tensor)


@pytest.mark.parametrize("cls", [Nuslerp, Multislerp])
@given(values=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=8), count=st.integers(2, 4))
def test_models_that_are_their_base_give_it_to_the_bit(cls, values, count):
    base = torch.tensor(values)
    assert merged(cls, [base.clone()] * (2 if cls is Nuslerp else count), base).equal(base)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_order_of_equally_weighted_models_makes_no_difference(cls, shape):
    tensors, _ = tuned(2 if cls is Nuslerp else 3, shape)
    torch.testing.assert_close(merged(cls, tensors), merged(cls, tensors[::-1]), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("parameters", [{}, {"nuslerp_flatten": False}])
def test_infinities_that_all_models_share_stay_and_spoil_nothing(cls, parameters):
    if parameters and cls is not Nuslerp:
        return
    tensors, _ = tuned(2, (4, 4), torch.float32)
    mask = torch.full((1, 4), -math.inf)
    result = merged(cls, [torch.cat([tensor, mask]) for tensor in tensors], **parameters)
    assert result[-1].equal(mask[0])
    torch.testing.assert_close(result[:-1], merged(cls, tensors, **parameters))
    nothing_else = torch.zeros(3, 3).masked_fill(torch.ones(3, 3).triu(1) > 0, -math.inf)
    assert merged(cls, [nothing_else, nothing_else.clone()], **parameters).equal(nothing_else)


@pytest.mark.parametrize(
    ("cls", "wrong", "message"),
    [
        (Nuslerp, {"models": ["a", "b", "c"]}, "at most 2"),
        (Nuslerp, {"models": ["a"]}, "at least 2"),
        (Nuslerp, {"weight": [1]}, "1 entries of weight for 2 models"),
        (Nuslerp, {"nuslerp_flatten": "maybe"}, "nuslerp_flatten"),
        (Multislerp, {"weight": [1, -1]}, "add up to zero"),
        (Multislerp, {"eps": 0}, "greater than 0"),
        (Karcher, {"tol": 0}, "greater than 0"),
        (Karcher, {"max_iter": 0}, "greater than or equal to 1"),
        (Karcher, {"base": "c"}, "base"),
    ],
)
def test_parameters_without_sense_are_refused(cls, wrong: dict[str, Any], message):
    with pytest.raises(ValidationError, match=message):
        cls.model_validate({"models": ["a", "b"]} | wrong)
