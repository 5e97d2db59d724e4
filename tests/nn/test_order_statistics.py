"""Numbers by their rank."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compat_spec.nn.order_statistics import kth_smallest

NUMBERS = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=30)


@given(pieces=st.lists(NUMBERS, min_size=1, max_size=4))
def test_every_rank_of_any_numbers(pieces):
    tensors = [torch.tensor(piece, dtype=torch.float32) for piece in pieces]
    together = torch.cat(tensors).sort().values
    ranks = range(len(together))
    assert kth_smallest(lambda: ([tensor] for tensor in tensors), ranks) == [together.tolist()]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_several_populations_are_ranked_apart(scale):
    numbers = torch.randn(3, 2, 40, 7, generator=torch.Generator().manual_seed(0)) * scale
    found = kth_smallest(lambda: iter(numbers), [0, 100, 700, 839])
    expected = numbers.transpose(0, 1).reshape(2, -1).sort(1).values[:, [0, 100, 700, 839]]
    assert found == expected.tolist()
