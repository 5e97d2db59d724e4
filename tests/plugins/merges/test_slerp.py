"""Spherical interpolation of parameters."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from compat_plugins.merges.slerp import Slerp
from compat_spec.nn.merging import merge_tensor
from compat_spec.nn.per_tensor import TensorPlace


def merge(a: Tensor, b: Tensor, t: float = 0.5) -> Tensor:
    return merge_tensor(Slerp(models=("a", "b"), t=t), [a, b], None, TensorPlace("h.0.weight"))


def some(seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def by_definition(a: Tensor, b: Tensor, t: float) -> Tensor:
    angle = math.acos(float((a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt())))
    return (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)


@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_the_formula(t):
    torch.testing.assert_close(merge(some(0), some(1), t), by_definition(some(0), some(1), t), atol=1e-13, rtol=1e-13)
    in_single = merge(some(0, torch.float32), some(1, torch.float32), t)
    assert in_single.dtype == torch.float32
    torch.testing.assert_close(in_single.double(), by_definition(some(0), some(1), t), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_ends_are_the_models_to_the_bit(dtype):
    a, b = some(0, dtype), some(1, dtype)
    assert merge(a, b, 0.0).equal(a)
    assert merge(a, b, 1.0).equal(b)
    near = a + b * 1e-4
    assert merge(a, near, 0.0).equal(a)
    assert merge(a, near, 1.0).equal(near)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.8])
def test_the_way_is_an_arc_of_even_speed(t):
    a, b = (x / x.norm() for x in (some(0), some(1)))
    angle = math.acos(float((a * b).sum()))
    point = merge(a, b, t)
    assert float(point.norm()) == pytest.approx(1)
    assert math.acos(float((a * point).sum())) == pytest.approx(t * angle)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("factor", [1.0, 3.0, -1.0, -0.5])
def test_parallel_and_opposite_tensors_go_straight(t, factor):
    a = some(0)
    torch.testing.assert_close(merge(a, a * factor, t), a * (1 - t + t * factor), atol=1e-14, rtol=1e-13)


@pytest.mark.parametrize(
    ("cosine", "straight"), [(0.99951, True), (0.99949, False), (-0.99951, True), (-0.99949, False)]
)
def test_where_the_straight_line_begins(cosine, straight):
    a, b = torch.tensor([1.0, 0.0]).double(), torch.tensor([cosine, math.sqrt(1 - cosine**2)]).double()
    line = torch.lerp(a, b, 0.3)
    assert torch.allclose(merge(a, b, 0.3), line, atol=1e-12) is straight
    assert torch.allclose(merge(a, b, 0.3), by_definition(a, b, 0.3), atol=1e-12) is not straight


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("t", [0.0, 0.1, 0.5, 0.77, 1.0])
def test_a_model_merged_with_itself_is_itself_to_the_bit(t, dtype):
    for tensor in (some(0, dtype), torch.zeros(3, dtype=dtype), torch.tensor(2.5, dtype=dtype)):
        assert merge(tensor, tensor.clone(), t).equal(tensor)


def test_a_tensor_of_zeros_has_no_direction_and_is_left_at_a_right_angle():
    a = some(0)
    torch.testing.assert_close(merge(a, torch.zeros_like(a), 0.25), a * math.sin(0.75 * math.pi / 2))


def test_infinities_that_both_have_stay_and_the_rest_goes_straight():
    a, b = torch.tensor([1.0, -math.inf, 2.0]), torch.tensor([3.0, -math.inf, -4.0])
    assert merge(a, b, 0.25).tolist() == [1.5, -math.inf, 0.5]


def test_short_tensors_have_an_angle_too():
    a, b = some(0), some(1)
    merge, at = Slerp(models=("a", "b"), t=0.3), TensorPlace("w")
    short = merge_tensor(merge, [a * 1e-6, b * 1e-6], None, at)
    torch.testing.assert_close(short * 1e6, merge_tensor(merge, [a, b], None, at))


def test_what_is_given_does_not_change():
    a, b = some(0), some(1)
    merge(a, b)
    merge(a, a * 2).add_(1)
    assert a.equal(some(0))
    assert b.equal(some(1))


@pytest.mark.parametrize(
    "wrong", [{"models": ["a"]}, {"models": ["a", "b", "c"]}, {"t": 1.1}, {"t": -0.1}, {"t": "nan"}]
)
def test_parameters_without_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        Slerp.model_validate({"models": ["a", "b"]} | wrong)


def test_what_is_not_a_number_leaves_the_rest_as_it_is():
    for numbers in ([math.nan], [math.inf, math.nan]):
        a = some(0, torch.float32)
        a.view(-1)[: len(numbers)] = torch.tensor(numbers)
        result = merge(a, a.clone())
        assert result.isnan().equal(a.isnan())
        assert result[1:].equal(a[1:])
