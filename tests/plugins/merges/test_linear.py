"""Weighted averages of parameters."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from compat_plugins.merges.linear import Linear
from compat_spec.nn.merging import merge_tensor
from compat_spec.nn.per_tensor import TensorPlace


def merge(tensors: list[Tensor], **parameters: object) -> Tensor:
    names = tuple(f"m{i}" for i in range(len(tensors)))
    return merge_tensor(
        Linear.model_validate({"models": names, **parameters}), tensors, None, TensorPlace("h.0.weight")
    )


def some(count: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(count)
    return [torch.randn(5, 3, generator=generator).to(dtype) for _ in range(count)]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    "weights",
    [
        [1.0, 1.0, 1.0],
        [0.2, 0.5, 0.1],
        [1.0, -1.0, 1.0],
        [0.5, -3.0, 1.0],
        [0.0, 0.0, 2.0],
        [-1.0, -0.5, -2.0],
        [0.03, 0.01, 0.02],
    ],
)
def test_the_weighted_sum_divided_by_the_weights_when_normalized(weights, normalize):
    tensors = some(3)
    expected = sum(weight * tensor.double() for weight, tensor in zip(weights, tensors, strict=True))
    expected = expected / (sum(weights) if normalize else 1)
    merged = merge(tensors, weight=weights, normalize=normalize)
    assert merged.dtype == torch.float32
    torch.testing.assert_close(merged.double(), expected, atol=1e-6, rtol=1e-6)


def test_equal_weights_by_default():
    tensors = some(4)
    torch.testing.assert_close(merge(tensors), torch.stack(tensors).mean(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype):
    tensors = some(3, dtype)
    exact = torch.stack([tensor.double() for tensor in tensors]).mean(0)
    merged = merge(tensors)
    assert merged.dtype == dtype
    # half a unit in the last place, and what float32 adds to it
    assert bool(((merged.double() - exact).abs() <= exact.abs() * torch.finfo(dtype).eps * 0.501).all())


def test_double_precision_is_kept():
    tensors = some(2, torch.float64)
    torch.testing.assert_close(
        merge(tensors, weight=[0.3, 0.7]), 0.3 * tensors[0] + 0.7 * tensors[1], rtol=1e-14, atol=0
    )


@given(
    values=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=8),  # infinities too: masks hold them
    weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=6),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
)
def test_a_model_merged_with_itself_is_itself_to_the_bit(values, weights, dtype):
    tensor = torch.tensor(values, dtype=dtype)
    assert merge([tensor] * len(weights), weight=weights).equal(tensor)


INFINITE = float("inf")


@pytest.mark.parametrize(
    ("values", "weights", "expected"),
    [
        ([INFINITE, INFINITE], [1.0, 1.0], INFINITE),
        ([-INFINITE, 1.0], [3.0, 1.0], -INFINITE),
        ([1.0, -INFINITE], [3.0, 1.0], -INFINITE),
        ([1.0, INFINITE], [1.0, 0.0], 1.0),
        ([3e38, -3e38], [1.0, 1.0], 0.0),  # their difference is more than float32 holds
    ],
)
@pytest.mark.parametrize("normalize", [True, False])
def test_infinite_and_very_large_values_are_averaged_as_they_are(values, weights, expected, normalize):
    tensors = [torch.tensor([value, 2.0]) for value in values]
    merged = merge(tensors, weight=weights, normalize=normalize)
    assert merged.tolist() == [expected, 2.0 if normalize else 2.0 * sum(weights)]


def test_infinities_that_contradict_are_not_a_number():
    tensors = [torch.tensor([INFINITE]), torch.tensor([-INFINITE])]
    assert bool(merge(tensors).isnan().all())


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_model_that_has_all_the_weight_is_the_result_to_the_bit(place):
    tensors = [tensor * 1000**i for i, tensor in enumerate(some(3))]
    weights = [0.0, 0.0, 0.0]
    weights[place] = 0.7
    assert merge(tensors, weight=weights).equal(tensors[place])


def test_what_is_given_does_not_change():
    tensors = some(3)
    before = [tensor.clone() for tensor in tensors]
    for normalize in (True, False):
        merge(tensors, weight=[1, 2, 3], normalize=normalize)
    merge([tensors[0]]).add_(1)
    assert all(a.equal(b) for a, b in zip(tensors, before, strict=True))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weight": [1.0]}, "1 entries of weight for 2 models"),
        ({"weight": [1.0, -1.0]}, "add up to zero"),
        ({"weight": [1.0, float("nan")]}, "finite"),
        ({"weight": [1.0, float("inf")]}, "finite"),
        ({"models": []}, "at least 1"),
        ({"wieght": [1, 1]}, "wieght"),
    ],
)
def test_parameters_without_sense_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        Linear.model_validate({"models": ["a", "b"]} | wrong)
    assert Linear.model_validate({"models": ["a", "b"], "weight": [1, -1], "normalize": False}).weight == (1, -1)
