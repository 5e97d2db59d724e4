"""The largest of many numbers, and their ranks, against sorting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compat_spec.nn import selection
from compat_spec.nn.pieces import TensorPieces, Unit, bounds
from compat_spec.nn.selection import Cut, Numbers, largest, order_statistics

VALUES = st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, math.inf, -math.inf]), min_size=1, max_size=40)


def numbers_of(populations: Sequence[Tensor], room: int) -> Numbers:
    def read(start: int, stop: int) -> tuple[list[Tensor], None]:
        return [population[start:stop] for population in populations], None

    return Numbers(TensorPieces((len(populations[0]),), "entry", room, read), lambda piece: piece.tensors)


def masks(numbers: Numbers, cuts: Sequence[Cut], population: int) -> list[list[bool]]:
    parts = [[cut.above(values[population], start) for start, values in numbers] for cut in cuts]
    return [torch.cat(of_cut).tolist() for of_cut in parts]


def by_sorting(values: Sequence[float], count: int) -> list[bool]:
    """Python's sort is stable: among equal numbers the first stay first."""
    order = sorted(range(len(values)), key=lambda i: -values[i])
    above = set(order[: max(count, 0)])
    return [i in above for i in range(len(values))]


@pytest.mark.parametrize("room", [1, 3, 1 << 18])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sample", [3, 1 << 16])
@given(first=VALUES, data=st.data())
def test_exactly_so_many_are_above_a_cut_and_the_first_among_equal_ones(first, data, sample, dtype, room):
    second = data.draw(st.permutations(first))
    counts = [data.draw(st.lists(st.integers(0, len(first)), min_size=1, max_size=3)) for _ in range(2)]
    numbers = numbers_of([torch.tensor(first, dtype=dtype), torch.tensor(second, dtype=dtype)], room)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "SAMPLE", sample)
        patch.setattr(selection, "WIDE", 0.0)  # bounds that are too near are widened
        found = largest(numbers, counts)
    for population, values in enumerate((first, second)):
        expected = [by_sorting(values, count) for count in counts[population]]
        assert masks(numbers, found[population], population) == expected


@pytest.mark.parametrize("kind", ["smooth", "rounded", "rows of other sizes", "mostly zero", "sorted"])
@pytest.mark.parametrize("share", [1e-5, 0.003, 0.5, 0.9, 0.99999])
def test_many_numbers_are_cut_as_by_sorting(kind, share):
    size, generator = 300_007, torch.Generator().manual_seed(0)
    values = torch.randn(size, generator=generator).abs()
    if kind == "rounded":
        values = values.bfloat16().float()
    if kind == "rows of other sizes":
        values *= torch.logspace(-6, 6, size // 1000 + 1).repeat_interleave(1000)[:size]
    if kind == "mostly zero":
        values[torch.rand(size, generator=generator) < 0.8] = 0
    if kind == "sorted":
        values = values.sort().values
    numbers = numbers_of([values], 1 << 13)
    count = max(1, int(share * size))
    ((cut,),) = largest(numbers, [[count]])
    (mask,) = masks(numbers, [cut], 0)
    order = values.argsort(descending=True, stable=True)[:count]
    expected = torch.zeros(size, dtype=torch.bool).index_fill_(0, order, True)
    assert mask == expected.tolist()
    assert cut.value == float(values[order[-1]])


def test_what_lies_between_the_bounds_is_a_small_part_of_all(monkeypatch):
    kept: list[int] = []
    cut = selection._Bracket.cut
    monkeypatch.setattr(
        selection._Bracket, "cut", lambda self, *given: kept.append(len(self.between.all())) or cut(self, *given)
    )
    size = 1_000_003
    for values in (torch.randn(size), torch.randn(size).bfloat16().float(), torch.randint(0, 3, (size,)).float()):
        largest(numbers_of([values.abs()], 1 << 16), [[size // 2]])
    assert len(kept) == 3, "one pass is enough"
    assert max(kept) < size / 50


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.6, 0.9999])
@pytest.mark.parametrize("large", [True, False])
def test_a_sample_that_misleads_costs_time_and_changes_nothing(share, large):
    size = 4 * selection.SAMPLE + 3
    values = torch.rand(size, generator=torch.Generator().manual_seed(0)).mul_(1000).round_()
    looked_at = torch.arange(0, size, 5)
    values[looked_at] += 2000 if large else -2000
    count = int(share * size)
    numbers = numbers_of([values], 1 << 14)
    ((cut,),) = largest(numbers, [[count]])
    expected = torch.zeros(size, dtype=torch.bool)
    expected[values.argsort(descending=True, stable=True)[:count]] = True
    assert masks(numbers, [cut], 0) == [expected.tolist()]


def test_tiny_and_huge_numbers_are_told_apart():
    tiny = 2.0**-149
    values = [0.0, tiny, -0.0, 2 * tiny, -tiny, 3e38, tiny, -3e38, 0.0]
    for dtype in (torch.float32, torch.float64):
        numbers = numbers_of([torch.tensor(values, dtype=dtype)], 2)
        (cuts,) = largest(numbers, [list(range(len(values) + 1))])
        assert masks(numbers, cuts, 0) == [by_sorting(values, count) for count in range(len(values) + 1)]


@given(values=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=30), data=st.data())
def test_order_statistics_are_those_of_the_sorted_list(values, data):
    ranks = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=4))
    found = order_statistics(numbers_of([torch.tensor(values)], 4), ranks)
    assert found == [sorted(values)[rank] for rank in ranks]


# ---------------------------------------------------------------------------------------------------------- pieces


@pytest.mark.parametrize("shape", [(), (1,), (7,), (5, 3), (2, 3, 4), (3, 20), (1, 1)])
@pytest.mark.parametrize("room", [1, 2, 6, 7, 100])
@pytest.mark.parametrize("unit", ["tensor", "row", "entry"])
def test_pieces_are_all_entries_once_in_order_and_cut_no_unit(shape: tuple[int, ...], room: int, unit: Unit):
    size = math.prod(shape)
    width = {"tensor": size, "row": shape[-1] if shape else 1, "entry": 1}[unit]
    whole = torch.arange(size)
    cut = TensorPieces(shape, unit, room, lambda start, stop: ([whole[start:stop]], whole[start:stop]))
    found = list(cut)
    assert torch.cat([piece.tensors[0].reshape(-1) for piece in found]).equal(whole)
    assert all(piece.base is not None and piece.base.equal(piece.tensors[0]) for piece in found)
    assert all(int(piece.tensors[0].reshape(-1)[0]) == piece.start and piece.start % width == 0 for piece in found)
    assert all(piece.tensors[0].numel() in (width, *range(width, max(room, width) + 1, width)) for piece in found)
    form = {"tensor": shape, "row": (found[0].tensors[0].numel() // width, width), "entry": found[0].tensors[0].shape}
    assert found[0].tensors[0].shape == form[unit]


def test_a_tensor_without_entries_has_no_pieces():
    for unit in ("tensor", "row", "entry"):
        assert bounds((0, 3), unit, 4) == bounds((3, 0), unit, 4) == []
