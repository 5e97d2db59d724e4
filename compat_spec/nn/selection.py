"""The largest of more numbers than fit into memory, and their ranks, exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compat_spec.nn import masks
from compat_spec.nn.pieces import Piece, TensorPieces

__all__ = ["Cut", "Numbers", "largest", "order_statistics"]

SAMPLE = 1 << 16
THIN = 64
"""So many numbers of a population, or one in so many, are looked at to guess between which two a rank lies."""

WIDE = 4.0
"""How many standard deviations of the guess they are apart from it at first."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Populations of equally many numbers, which are computed anew, piece by piece, each time that they are asked for.

    Attributes:
        of: what is made of a piece: of each population a tensor with a number for each of its entries.
    """

    pieces: TensorPieces
    of: Callable[[Piece], Sequence[Tensor]]

    @property
    def size(self) -> int:
        """How many numbers a population has."""
        return self.pieces.size

    def __getitem__(self, index: int) -> tuple[int, Sequence[Tensor]]:
        piece = self.pieces[index]
        return piece.start, self.of(piece)

    def __iter__(self) -> Iterator[tuple[int, Sequence[Tensor]]]:
        """Where each piece begins, and its numbers."""
        return (self[index] for index in range(len(self.pieces)))

    def each(self, function: Callable[[Tensor], Tensor]) -> Numbers:
        """The same with a function of each tensor."""
        return Numbers(self.pieces, lambda piece: [function(tensor) for tensor in self.of(piece)])


@dataclass(frozen=True, slots=True)
class Cut:
    """Parts the numbers of a population: above are those larger than `value`, and those equal to it up to a position.

    Attributes:
        last: the last position, in the whole population, at which a number equal to `value` is above.
    """

    value: float
    last: int

    def above(self, values: Tensor, start: int) -> Tensor:
        """Which numbers of a piece are above, bool, in its shape."""
        count = self.last - start + 1
        if count >= values.numel():
            return masks.at_least(values, self.value)
        mask = masks.above(values, self.value)
        if count > 0:
            flat = mask.view(-1)
            flat[:count] |= values.reshape(-1)[:count] == self.value
        return mask


def largest(numbers: Numbers, counts: Sequence[Sequence[int]]) -> list[list[Cut]]:
    """For each population, cuts above which are so many of the largest of its numbers.

    Of equal numbers those that come first count as larger. Each number is read twice in general: once for a sample,
    which says between which two numbers the cut must lie, and once to count those below and to keep those between.

    Args:
        numbers: without NaN.
        counts: the counts for each population, from 0 to its size.
    """
    samples = _samples(numbers, len(counts))
    found: dict[tuple[int, int], Cut] = {}
    wanted = {}
    for population, of in enumerate(counts):
        for number, count in enumerate(of):
            if count > 0:
                wanted[population, number] = numbers.size - count
            else:
                found[population, number] = Cut(math.inf, -1)
    wide = WIDE
    while wanted:
        brackets = {key: _bracket(samples[key[0]], rank, numbers.size, wide) for key, rank in wanted.items()}
        for start, values in numbers:
            for (population, _), bracket in brackets.items():
                bracket.count(values[population], start)
        for key, bracket in brackets.items():
            cut = bracket.cut(wanted[key], numbers, key[0])
            if cut is not None:
                found[key] = cut
                del wanted[key]
        wide *= 8
    return [[found[population, number] for number in range(len(of))] for population, of in enumerate(counts)]


def order_statistics(numbers: Numbers, ranks: Sequence[int]) -> list[float]:
    """The numbers of these ranks, 0 for the smallest, of a single population without NaN."""
    (cuts,) = largest(numbers, [[numbers.size - rank for rank in ranks]])
    return [cut.value for cut in cuts]


def _samples(numbers: Numbers, populations: int) -> list[Tensor]:
    """Some numbers of each population, evenly spread over it, sorted."""
    step = min(max(numbers.size // SAMPLE, 1), THIN)
    step |= step > 1  # odd, so that rows whose width is a power of two are not looked at in the same columns
    taken = [_Gathered(-(-numbers.size // step)) for _ in range(populations)]
    for start, values in numbers:
        for of, tensor in zip(taken, values, strict=True):
            of.add(tensor.reshape(-1)[-start % step :: step])
    return [_sorted(of.all()) for of in taken]


class _Gathered:
    """Numbers that come piece by piece, in one tensor from the beginning.

    Many small tensors would be laid into the gaps that freed pieces leave, where the next pieces then find no room.
    """

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._tensor: Tensor | None = None
        self._count = 0

    def add(self, values: Tensor) -> None:
        count = self._count + len(values)
        if self._tensor is None:
            self._tensor = values.new_empty(max(self._expected, count))
        elif count > len(self._tensor):
            self._tensor = torch.cat([self._tensor, self._tensor.new_empty(count)])
        self._tensor[self._count : count] = values
        self._count = count

    def all(self) -> Tensor:
        return torch.empty(0) if self._tensor is None else self._tensor[: self._count]


class _Bracket:
    """What is found of a population's numbers around a rank: those between two bounds, and how many are below.

    Numbers equal to a bound are counted and not kept, for there can be very many of them.

    Args:
        expected: how many numbers are probably between the bounds.
    """

    def __init__(self, low: float, high: float, expected: int) -> None:
        self.low, self.high = low, high
        self.below = 0
        self.at_low: list[int] = []
        """How many numbers of each piece are equal to the lower bound."""
        self.at_high: list[int] = []
        self.between, self.places = _Gathered(expected), _Gathered(expected)

    def count(self, values: Tensor, start: int) -> None:
        flat = values.reshape(-1)
        above_low = masks.above(flat, self.low)
        from_low, beyond_low = masks.count(masks.at_least(flat, self.low)), masks.count(above_low)
        self.below += len(flat) - from_low
        self.at_low.append(from_low - beyond_low)
        if self.high == self.low:
            return
        from_high = masks.at_least(flat, self.high)
        self.at_high.append(masks.count(from_high) - masks.count(masks.above(flat, self.high)))
        inside = masks.places(above_low.logical_xor_(from_high))
        self.between.add(flat[inside])
        self.places.add(inside + start)

    def cut(self, rank: int, numbers: Numbers, population: int) -> Cut | None:
        """The cut whose numbers above are all but `rank`; None where that is not between the bounds."""
        rank -= self.below
        if rank < 0:
            return None
        equal = sum(self.at_low)
        if rank < equal:
            return Cut(self.low, _position(self.low, equal - rank, self.at_low, numbers, population))
        rank -= equal
        between = self.between.all()
        if rank < len(between):
            value = _kth(between, rank)
            at = (between == value).nonzero().view(-1)
            above = int((between < value).count_nonzero()) + len(at) - rank
            return Cut(value, int(self.places.all()[at[above - 1]]))
        rank -= len(between)
        equal = sum(self.at_high)
        if rank < equal:
            return Cut(self.high, _position(self.high, equal - rank, self.at_high, numbers, population))
        return None


def _bracket(sample: Tensor, rank: int, size: int, wide: float) -> _Bracket:
    """Two numbers of the sorted sample between which the number of this rank is to be expected."""
    count = len(sample)
    if count == size:
        value = float(sample[rank])
        return _Bracket(value, value, 0)
    share = rank / size
    apart = wide * math.sqrt(count * share * (1 - share)) + 2
    low, high = math.floor(share * count - apart), math.ceil(share * count + apart)
    low_value, high_value = (
        float(sample[low]) if low >= 0 else -math.inf,
        float(sample[high]) if high < count else math.inf,
    )
    inside = int(torch.searchsorted(sample, high_value)) - int(torch.searchsorted(sample, low_value, right=True))
    return _Bracket(low_value, high_value, 1024 + int(max(inside, 0) * size / count * 1.25))


def _position(value: float, count: int, of_pieces: Sequence[int], numbers: Numbers, population: int) -> int:
    """Where in a population the number of this value is that is the `count`-th of them."""
    for index, here in enumerate(of_pieces):
        if count <= here:
            start, values = numbers[index]
            equal = (values[population].reshape(-1) == value).nonzero().view(-1)
            return start + int(equal[count - 1])
        count -= here
    raise AssertionError("there are not so many")


def _kth(values: Tensor, rank: int) -> float:
    if values.device.type != "cpu":
        return float(values.sort().values[rank])
    return float(np.partition(values.numpy(), rank)[rank])


def _sorted(values: Tensor) -> Tensor:
    # NumPy sorts several times as fast as torch on a CPU
    return values.sort().values if values.device.type != "cpu" else torch.from_numpy(np.sort(values.numpy()))
