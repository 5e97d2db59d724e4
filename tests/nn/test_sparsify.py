"""What is set to zero in a task vector, against naive Python; what is drawn at random, by statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.nn.pieces import TensorPieces, Unit
from compat_spec.nn.randomness import uniform
from compat_spec.nn.selection import Numbers
from compat_spec.nn.sparsify import Kept, keep_at_random, keep_by_rank, keep_largest, keep_middle, rescalings

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


def numbers_of(deltas: Sequence[Tensor], room: int = 3, unit: Unit = "entry") -> Numbers:
    def read(start: int, stop: int) -> tuple[list[Tensor], None]:
        return [delta.reshape(-1)[start:stop].clone() for delta in deltas], None

    return Numbers(TensorPieces(deltas[0].shape, unit, room, read), lambda piece: piece.tensors)


def thinned(numbers: Numbers, kept: Kept, population: int = 0) -> list[float]:
    """The entries of a task vector, zero where they do not count."""
    parts = [values[population] * kept(values[population], start) for start, values in numbers]
    return torch.cat([part.reshape(-1) for part in parts]).tolist()


@given(values=VALUES, densities=st.tuples(SHARE, SHARE))
def test_the_largest_are_kept_and_one_at_least(values, densities):
    delta = torch.tensor(values, dtype=torch.float64)
    numbers = numbers_of([delta, delta.flip(0)])
    for model, kept in enumerate(keep_largest(numbers, densities)):
        of_model = values if model == 0 else values[::-1]
        most = descending(of_model)[: max(1, int(densities[model] * len(values)))]
        assert thinned(numbers, kept, model) == [value if i in most else 0 for i, value in enumerate(of_model)]


@given(values=VALUES, density=SHARE, gamma=st.floats(0, 0.99))
def test_the_middle_is_kept_below_the_largest(values, density, gamma):
    numbers = numbers_of([torch.tensor(values, dtype=torch.float64)])
    (kept,) = keep_middle(numbers, [density], [gamma])
    count = int(density * len(values))
    first = min(int(gamma * len(values)), len(values) - count)
    middle = descending(values)[first : first + count]
    assert thinned(numbers, kept) == [value if i in middle else 0 for i, value in enumerate(values)]


def test_what_is_not_a_number_counts_as_infinite():
    values = [1.0, math.nan, -math.inf, 2.0]
    numbers = numbers_of([torch.tensor(values)])
    for density, most in ((0.25, [1]), (0.5, [1, 2]), (0.75, [1, 2, 3])):
        (kept,) = keep_largest(numbers, [density])
        found = torch.cat([kept(values[0], start) for start, values in numbers])
        assert found.nonzero().flatten().tolist() == most


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("room", [3, 1 << 18])
def test_what_is_left_is_rescaled_to_the_sum_of_magnitudes_that_there_was(room, dtype):
    deltas = [uniform((7, 9), 0, str(model)).to(dtype) - 0.5 for model in range(2)]
    numbers = numbers_of(deltas, room)
    kept = keep_largest(numbers, [0.4, 0.1])
    for model, factor in enumerate(rescalings(numbers, kept)):
        left = torch.tensor(thinned(numbers, kept[model], model), dtype=torch.float64)
        assert factor * float(left.abs().sum()) == pytest.approx(float(deltas[model].double().abs().sum()), rel=1e-6)


@pytest.mark.parametrize("values", [[0.0, 0.0], [1e-9, -1e-9], [math.inf, 1.0], [math.nan, 1.0]])
def test_nothing_and_infinity_are_not_rescaled(values):
    numbers = numbers_of([torch.tensor(values)])
    assert rescalings(numbers, keep_largest(numbers, [0.5])) == [1]


def test_the_sums_of_many_entries_are_exact_to_rounding():
    delta = uniform((3_000_001,), 0, "delta") - 0.5
    (factor,) = rescalings(numbers_of([delta], 1 << 18), [lambda piece, start: piece > 0])
    exact = float(delta.double().abs().sum() / delta.double().clamp(min=0).sum())
    assert factor == pytest.approx(exact, rel=1e-7)


# -------------------------------------------------------------------------------------------------------- at random

AT = TensorPlace("h.0.weight")


def frequency(rows: Tensor, density: float, epsilon: float | None = None, room: int = 1 << 18) -> Tensor:
    """How often each entry is kept, of rows `[rows, width]` that are there DRAWS times over."""
    many = rows.expand(DRAWS, *rows.shape).reshape(-1, rows.shape[-1])
    keep = keep_at_random(density, AT, 0) if epsilon is None else keep_by_rank(density, epsilon, AT, 0)
    masks = [keep(values[0], start) for start, values in numbers_of([many], room, "row")]
    assert all(mask.dtype == torch.bool for mask in masks)
    return torch.cat(masks).view(DRAWS, *rows.shape).double().mean(0)


def test_each_entry_is_kept_at_random_with_the_same_probability():
    found = frequency(torch.arange(1.0, 31).view(5, 6), 0.3)
    assert float((found - 0.3).abs().max()) < bound(30) < 0.06


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("room", [1000, 1 << 18])
def test_large_entries_of_a_row_are_kept_more_often(dtype, room):
    rows = torch.tensor([[0.1, -3.0, 2.0], [-9.0, 7.0, 8.0], [1e-6, -1e-7, 1e6]], dtype=dtype)
    expected = torch.tensor([[0.2, 0.8, 0.5], [0.8, 0.2, 0.5], [0.5, 0.2, 0.8]], dtype=torch.float64)
    assert float((frequency(rows, 0.5, 0.3, room) - expected).abs().max()) < bound(9) < 0.06


def test_of_equal_magnitudes_the_first_ranks_lower(monkeypatch):
    draws = torch.tensor([[0.35, 0.35, 0.65, 0.65]])  # chances: 0.3, 0.43, 0.57, 0.7
    monkeypatch.setattr(TensorPlace, "random", lambda place, shape, stream: draws)
    for values, expected in (([1, -1, 1, -1], [0, 1, 0, 1]), ([2, 1, 1, 2], [1, 0, 0, 1])):
        delta = torch.tensor([values], dtype=torch.float32)
        assert keep_by_rank(0.5, 0.2, AT, 0)(delta, 0).int().tolist() == [expected]


def test_an_entry_that_is_alone_in_its_row_has_the_plain_probability():
    assert float((frequency(torch.ones(4, 1), 0.5, 0.3) - 0.5).abs().max()) < bound(4)


@pytest.mark.parametrize("keep", [keep_at_random(0.4, AT, 1), keep_by_rank(0.4, 0.1, AT, 1)])
def test_pieces_are_drawn_as_the_whole_is_and_again(keep):
    delta = uniform((50, 7), 0, "delta") - 0.5
    whole = keep(delta, 0)
    for _ in range(2):
        parts = [keep(values[0], start) for start, values in numbers_of([delta], 30, "row")]
        assert torch.cat(parts).equal(whole)
    assert not keep(delta, 7).equal(whole)
