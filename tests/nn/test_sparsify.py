"""What is set to zero in a task vector, against naive Python; what is drawn at random, by statistics."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compat_spec.nn import pieces
from compat_spec.nn.randomness import uniform
from compat_spec.nn.sparsify import (
    keep_at_random_,
    keep_by_rank_,
    keep_largest_,
    keep_middle_,
    rescaling,
    size_of,
)

VALUES = st.lists(st.sampled_from([0.1 * n for n in range(-9, 10)]), min_size=1, max_size=30)
SHARE = st.floats(0.01, 0.99)
DRAWS = 4000
CERTAIN = 1e-7
"""The probability with which a statistic of right numbers may lie outside of its bound."""


def bound(comparisons: int, spread: float = 1.0) -> float:
    """How far the mean of DRAWS numbers from a range of this width may be from what is expected (Hoeffding, 1963)."""
    return spread * math.sqrt(math.log(2 * comparisons / CERTAIN) / (2 * DRAWS))


def descending(values: list[float]) -> list[int]:
    return sorted(range(len(values)), key=lambda i: -abs(values[i]))


@given(values=VALUES, density=SHARE)
def test_the_largest_are_kept_and_one_at_least(values, density):
    delta = torch.tensor(values, dtype=torch.float64)
    keep_largest_(delta, density)
    kept = descending(values)[: max(1, int(density * len(values)))]
    assert delta.tolist() == [value if i in kept else 0 for i, value in enumerate(values)]


@given(values=VALUES, density=SHARE, gamma=st.floats(0, 0.99))
def test_the_middle_is_kept_below_the_largest(values, density, gamma):
    delta = torch.tensor(values, dtype=torch.float64)
    keep_middle_(delta, density, gamma)
    count = int(density * len(values))
    first = min(int(gamma * len(values)), len(values) - count)
    kept = descending(values)[first : first + count]
    assert delta.tolist() == [value if i in kept else 0 for i, value in enumerate(values)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [3, 1 << 18])
def test_the_sum_of_magnitudes_and_rescaling_to_it(monkeypatch, size, dtype):
    monkeypatch.setattr(pieces, "PIECE", size)
    delta = uniform((7, 9), 0, "delta").to(dtype) - 0.5
    before = float(delta.double().abs().sum())
    assert size_of(delta) == pytest.approx(before, rel=1e-6)
    keep_largest_(delta, 0.4)
    half = delta.clone()
    delta *= rescaling(delta, before)
    assert float(delta.double().abs().sum()) == pytest.approx(before, rel=1e-6)
    torch.testing.assert_close(delta / half.abs().sum(), half * before / half.abs().sum() ** 2)


@pytest.mark.parametrize("values", [[0.0, 0.0], [1e-9, -1e-9], [math.inf, 1.0], [math.nan, 1.0]])
def test_nothing_and_infinity_are_not_rescaled(values):
    delta = torch.tensor(values)
    delta *= rescaling(delta, 5.0)
    assert torch.equal(delta.nan_to_num(7), torch.tensor(values).nan_to_num(7))


def test_the_sum_of_magnitudes_of_many_entries_is_exact_to_rounding():
    delta = uniform((3_000_001,), 0, "delta") - 0.5
    assert size_of(delta) == pytest.approx(float(delta.double().abs().sum()), rel=1e-7)


# -------------------------------------------------------------------------------------------------------- at random


def kept(delta: Tensor, density: float, epsilon: float | None = None) -> Tensor:
    """How often each entry is kept, of a tensor of one dimension or more, whose last is the rows'."""
    many = delta.expand(DRAWS, *delta.shape).clone()
    draws = uniform(many.shape, 0, "draws")
    if epsilon is None:
        keep_at_random_(many, density, draws)
    else:
        keep_by_rank_(many, density, epsilon, draws)
    assert bool(((many == 0) | (many == delta)).all())
    return (many != 0).double().mean(0)


def test_each_entry_is_kept_at_random_with_the_same_probability():
    frequency = kept(torch.arange(1.0, 31).view(5, 6), 0.3)
    assert float((frequency - 0.3).abs().max()) < bound(30) < 0.06


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 6, 1 << 18])  # a row at a time, two rows, all
def test_large_entries_of_a_row_are_kept_more_often(monkeypatch, dtype, size):
    monkeypatch.setattr(pieces, "PIECE", size)
    delta = torch.tensor([[0.1, -3.0, 2.0], [-9.0, 7.0, 8.0], [1e-6, -1e-7, 1e6]], dtype=dtype)
    expected = torch.tensor([[0.2, 0.8, 0.5], [0.8, 0.2, 0.5], [0.5, 0.2, 0.8]], dtype=torch.float64)
    assert float((kept(delta, 0.5, 0.3) - expected).abs().max()) < bound(9) < 0.06


def test_rows_are_along_the_last_dimension_and_a_vector_is_one():
    vector = torch.tensor([5.0, -1.0, 4.0, 2.0, -3.0])
    expected = torch.tensor([0.7, 0.3, 0.6, 0.4, 0.5], dtype=torch.float64)
    solid = vector.expand(2, 2, 5) * torch.tensor([1.0, 100.0])[:, None]
    assert float((kept(solid, 0.5, 0.2) - expected).abs().max()) < bound(20)
    draws = uniform((1, 5), 1, "draws")
    row = vector[None].clone()
    keep_by_rank_(row, 0.5, 0.2, draws)
    keep_by_rank_(vector, 0.5, 0.2, draws[0])
    assert vector.equal(row[0])
    assert 0 < vector.count_nonzero() < 5


def test_of_equal_magnitudes_the_first_ranks_lower():
    draws = torch.tensor([[0.35, 0.35, 0.65, 0.65]])  # chances: 0.3, 0.43, 0.57, 0.7
    for values, expected in (([1, -1, 1, -1], [0, -1, 0, -1]), ([2, 1, 1, 2], [2, 0, 0, 2])):
        delta = torch.tensor([values], dtype=torch.float32)
        keep_by_rank_(delta, 0.5, 0.2, draws)
        assert delta.tolist() == [expected]


def test_an_entry_that_is_alone_in_its_row_has_the_plain_probability():
    assert float((kept(torch.ones(4, 1), 0.5, 0.3) - 0.5).abs().max()) < bound(4)
    for drawn in (0.45, 0.55):
        for shape in ((), (1,)):
            delta = torch.ones(shape)
            keep_by_rank_(delta, 0.5, 0.3, torch.full(shape, drawn))
            assert float(delta) == (drawn < 0.5)


def test_nothing_is_made_of_nothing():
    for shape in ((0,), (3, 0), (0, 3)):
        delta = torch.empty(shape)
        keep_by_rank_(delta, 0.5, 0.1, torch.empty(shape))
        keep_at_random_(delta, 0.5, torch.empty(shape))
        assert delta.shape == shape
