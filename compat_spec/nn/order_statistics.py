"""The k-th smallest of more numbers than fit into memory, exactly: counted by their bits, in two passes.

For the ranks of a whole model, of which it keeps nothing; `selection` keeps a part, and knows where numbers stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

_HALF = 1 << 16


def kth_smallest(read: Callable[[], Iterable[Sequence[Tensor]]], ranks: Sequence[int]) -> list[list[float]]:
    """The numbers of these ranks, 0 for the smallest, in each of several populations.

    Args:
        read: gives the numbers anew each time, piece by piece: of each population one tensor, float32, without NaN.
        ranks: each less than the number of entries of a population.
    """
    # numbers are told apart by the first half of their bits, then those around each rank by the second half
    high: list[Tensor] = []
    for piece in read():
        counted = [_counts(_keys(tensor) >> 16) for tensor in piece]
        high = [a + b for a, b in zip(high, counted, strict=True)] if high else counted
    sums = [counts.cumsum(0) for counts in high]
    halves = [[int(torch.searchsorted(total, rank, right=True)) for rank in ranks] for total in sums]
    low = [{half: torch.zeros(_HALF, dtype=torch.int64) for half in of} for of in halves]
    for piece in read():
        for tensor, fine in zip(piece, low, strict=True):
            keys = _keys(tensor)
            for half in fine:
                fine[half] += _counts(keys[keys >> 16 == half] & (_HALF - 1))
    found: list[list[float]] = [[] for _ in high]
    for numbers, counts, total, chosen, fine in zip(found, high, sums, halves, low, strict=True):
        for rank, half in zip(ranks, chosen, strict=True):
            rest = rank - int(total[half] - counts[half])
            numbers.append(_number(half << 16 | int(torch.searchsorted(fine[half].cumsum(0), rest, right=True))))
    return found


def _counts(values: Tensor) -> Tensor:
    return torch.bincount(values.flatten(), minlength=_HALF).cpu()


def _keys(tensor: Tensor) -> Tensor:
    """Whole numbers from 0 to 2^32 that are in the order of the floating-point numbers, int64."""
    bits = tensor.view(torch.int32).to(torch.int64)
    return torch.where(bits < 0, ~bits & 0xFFFFFFFF, bits | 0x80000000)


def _number(key: int) -> float:
    bits = key & 0x7FFFFFFF if key & 0x80000000 else ~key & 0xFFFFFFFF
    return float(torch.tensor(bits - (bits >> 31 << 32), dtype=torch.int32).view(torch.float32))
