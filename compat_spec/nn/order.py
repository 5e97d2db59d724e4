"""The largest entries of a tensor, and its quantiles, without sorting it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from compat_spec.nn.pieces import pieces


def order_statistics(values: Tensor, ranks: Sequence[int]) -> list[float]:
    """The entries at these ranks, from 0 for the smallest; NaN counts as larger than all.

    Args:
        values: `[n]`; their order is lost.
    """
    if values.device.type != "cpu":
        return [float(value) for value in values.sort().values[list(ranks)]]
    array = values.numpy()
    array.partition(sorted(set(ranks)))
    return [float(array[rank]) for rank in ranks]


def largest(values: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """For each of `counts`, the mask of so many entries of the largest magnitude, bool, in the shape of `values`.

    Among equal magnitudes those that come first, row by row, count as larger. So does NaN, as larger than all.
    """
    flat, size = values.reshape(-1), values.numel()
    inner = [count for count in counts if 0 < count < size]
    thresholds = order_statistics(flat.abs(), [size - count for count in inner]) if inner else []
    found = dict(zip(inner, thresholds, strict=True))
    masks = [
        _above(flat, found[count], count) if count in found else torch.full_like(flat, count > 0, dtype=torch.bool)
        for count in counts
    ]
    return [mask.view(values.shape) for mask in masks]


def _above(flat: Tensor, threshold: float, count: int) -> Tensor:
    """The entries above a magnitude, and as many of those that are equal to it, from the first, as make up `count`."""
    if math.isnan(threshold):
        return torch.zeros_like(flat, dtype=torch.bool).index_fill_(0, flat.isnan().nonzero()[:count, 0], True)
    mask = torch.empty(flat.shape, dtype=torch.bool, device=flat.device)
    above = 0
    for piece in pieces(flat):
        torch.le(flat[piece].abs(), threshold, out=mask[piece]).logical_not_()
        above += int(mask[piece].count_nonzero())
    missing = count - above
    for piece in pieces(flat):
        if missing <= 0:
            break
        equal = (flat[piece].abs() == threshold).nonzero()[:missing, 0]
        mask[piece][equal] = True
        missing -= len(equal)
    return mask
