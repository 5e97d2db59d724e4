"""Masks, against torch's own, bit by bit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compat_spec.nn import masks

ODD = [0.0, -0.0, 1.0, -1.0, 1e-45, 3e38, math.inf, -math.inf, math.nan]
VALUES = st.lists(st.sampled_from(ODD) | st.floats(width=32), min_size=1, max_size=30)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def bits(tensor: torch.Tensor) -> list[int]:
    found: list[int] = tensor.view(torch.int32 if tensor.dtype == torch.float32 else torch.int64).tolist()
    return found


@DTYPES
@given(values=VALUES, bound=st.sampled_from(ODD[:-1]))
def test_comparisons_are_those_of_torch(values, bound, dtype):
    tensor = torch.tensor(values, dtype=dtype)
    for ours, theirs in (
        (masks.above, tensor > bound),
        (masks.at_least, tensor >= bound),
        (masks.at_most, tensor <= bound),
    ):
        found = ours(tensor, bound)
        assert found.equal(theirs)
        assert masks.count(found) == int(theirs.sum())
        assert masks.places(found).equal(theirs.nonzero().flatten())


@DTYPES
@given(values=VALUES, data=st.data())
def test_what_is_kept_has_its_bits_and_the_rest_is_zero(values, data, dtype):
    tensor = torch.tensor(values, dtype=dtype)
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    other = torch.tensor(data.draw(st.permutations(values)), dtype=dtype)
    expected = tensor.masked_fill(~mask, 0)
    chosen = torch.where(mask, tensor, other)
    assert bits(masks.select(mask, tensor, other)) == bits(chosen)
    assert bits(masks.keep_(tensor, mask)) == bits(expected) == bits(tensor)


@DTYPES
def test_any_shape_will_do(dtype):
    tensor = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=dtype)
    mask = masks.above(tensor, 0)
    assert mask.shape == (3, 4)
    assert masks.places(mask).equal(mask.flatten().nonzero().flatten())
    assert masks.select(mask, tensor, -tensor).equal(tensor.abs())
    assert masks.keep_(tensor.clone(), mask).equal(tensor.clamp(min=0))
