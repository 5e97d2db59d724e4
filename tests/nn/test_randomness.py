"""Random numbers by seed and name.

The statistics fail with a probability below 1e-5 for numbers that are as they should be; the seeds are fixed, so that
they either always pass or never do.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compat_spec.nn import randomness
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.nn.randomness import uniform

COUNT = (1 << 21) + 12345
"""Many blocks, and a part of one."""


@pytest.fixture(scope="module")
def numbers() -> np.ndarray:
    return uniform((COUNT,), 3, "h.0.weight").numpy()


def test_they_are_evenly_spread_over_the_multiples_of_2_to_the_minus_24(numbers):
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    scaled = numbers.astype(np.float64) * 2**24
    assert (scaled == np.floor(scaled)).all()
    for bins in (
        np.bincount((scaled // 2**14).astype(int), minlength=1024),  # the upper bits
        np.bincount((scaled % 1024).astype(int), minlength=1024),  # the lower bits
    ):
        expected, free = COUNT / 1024, 1023
        chi_squared = float(((bins - expected) ** 2 / expected).sum())
        # Laurent and Massart, 2000, lemma 1: beyond this on either side with a probability of 1e-6 at most
        x = math.log(1e6)
        assert free - 2 * math.sqrt(free * x) < chi_squared < free + 2 * math.sqrt(free * x) + 2 * x


def test_neighbours_and_blocks_are_not_correlated(numbers):
    centred = numbers.astype(np.float64) - 0.5
    for distance in (1, 2, 1 << 16):
        a, b = centred[:-distance], centred[distance:]
        correlation = float((a * b).mean() * 12)
        assert abs(correlation) < 5.5 / math.sqrt(len(a))  # 5.5 standard deviations: 4e-8


@pytest.mark.parametrize("other", [(3, "h.0.bias"), (4, "h.0.weight"), (3, "h.0.weight\n1")])
def test_other_seeds_and_names_have_unrelated_numbers(numbers, other):
    a, b = numbers.astype(np.float64) - 0.5, uniform((COUNT,), *other).numpy().astype(np.float64) - 0.5
    assert abs(float((a * b).mean() * 12)) < 5.5 / math.sqrt(COUNT)
    assert float((a == b).mean()) < 1e-5


@settings(max_examples=50)
@given(start=st.integers(0, COUNT), count=st.integers(0, 1 << 18))
def test_a_part_is_drawn_as_in_the_whole(numbers, start, count):
    count = min(count, COUNT - start)
    assert np.array_equal(uniform((count,), 3, "h.0.weight", start).numpy(), numbers[start : start + count])


def test_what_was_drawn_before_makes_no_difference(numbers):
    torch.manual_seed(5)
    np.random.seed(5)
    torch.rand(7)
    uniform((11,), 3, "h.0.weight")
    state = torch.get_rng_state()
    assert np.array_equal(uniform((COUNT,), 3, "h.0.weight").numpy(), numbers)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 3, 4), (0, 3)])
def test_any_shape_has_the_same_numbers_row_by_row(monkeypatch, shape):
    monkeypatch.setattr(randomness, "_BLOCK", 7)
    drawn = uniform(shape, 0, "x")
    assert drawn.shape == shape
    assert drawn.flatten().equal(uniform((drawn.numel(),), 0, "x"))


def test_a_place_has_numbers_of_its_own_for_each_stream():
    place = TensorPlace("h.0.weight", seed=1)
    assert place.random((4, 5)).equal(place.random((4, 5), stream=0))
    drawn = [place.random((4, 5), stream=1), TensorPlace("h.1.weight", seed=1).random((4, 5))]
    drawn += [TensorPlace("h.0.weight", seed=2).random((4, 5)), place.random((4, 5))]
    assert not any(a.equal(b) for i, a in enumerate(drawn) for b in drawn[:i])
