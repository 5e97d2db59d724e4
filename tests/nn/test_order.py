"""The largest entries and quantiles of a tensor, against sorting."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compat_spec.nn import pieces
from compat_spec.nn.order import largest, order_statistics

VALUES = st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, float("inf")]), min_size=1, max_size=40)


def by_sorting(values: list[float], count: int) -> list[bool]:
    """Python's sort is stable: among equal magnitudes the first stay first."""
    order = sorted(range(len(values)), key=lambda i: -abs(values[i]))
    return [i in order[: max(count, 0)] for i in range(len(values))]


@pytest.mark.parametrize("size", [3, 1 << 18])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(values=VALUES, counts=st.lists(st.integers(0, 41), min_size=1, max_size=3))
def test_exactly_so_many_of_the_largest_are_found_and_the_first_among_equal_ones(values, counts, dtype, size):
    tensor = torch.tensor(values, dtype=dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", size)
        masks = largest(tensor, counts)
    assert [mask.tolist() for mask in masks] == [by_sorting(values, count) for count in counts]
    assert tensor.tolist() == values


def test_masks_have_the_shape_of_the_tensor():
    tensor = torch.tensor([[3.0, -5.0], [4.0, 1.0]])
    (mask,) = largest(tensor, [2])
    assert mask.tolist() == [[False, True], [True, False]]
    assert largest(tensor.t(), [1])[0].tolist() == [[False, False], [True, False]]
    assert largest(torch.tensor(2.0), [1])[0].tolist() is True
    assert largest(torch.empty(0, 3), [1])[0].shape == (0, 3)


def test_what_is_not_a_number_is_larger_than_all():
    values = torch.tensor([1.0, float("nan"), float("inf"), 2.0])
    assert [mask.tolist() for mask in largest(values, [1, 2])] == [
        [False, True, False, False],
        [False, True, True, False],
    ]


@given(values=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=30), data=st.data())
def test_order_statistics_are_those_of_the_sorted_list(values, data):
    ranks = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=4))
    assert order_statistics(torch.tensor(values), ranks) == [sorted(values)[rank] for rank in ranks]


@pytest.mark.parametrize(("rows", "width"), [(10, 1), (7, 3), (3, 100), (0, 4)])
def test_pieces_are_all_rows_once_in_order(monkeypatch, rows, width):
    monkeypatch.setattr(pieces, "PIECE", 8)
    found = list(pieces.pieces(torch.empty(rows, width), width))
    assert [row for piece in found for row in range(rows)[piece]] == list(range(rows))
    assert all(piece.stop - piece.start == 1 or (piece.stop - piece.start) * width <= 8 for piece in found)
    assert len(found) == -(-rows // max(8 // width, 1))
