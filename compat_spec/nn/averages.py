"""Weighted averages of tensors that are exact where there is nothing to round."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

__all__ = ["mean", "weighted_average", "weighted_sum"]


def mean(tensors: Sequence[Tensor]) -> Tensor:
    """The mean of tensors of one shape; of equal tensors exactly that tensor."""
    return weighted_average(tensors, [1 / len(tensors)] * len(tensors))


def weighted_average(tensors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """The sum of tensors of one shape times shares that add up to one; a new tensor.

    Equal tensors, and one that has the whole share, come out to the bit. Infinities are averaged as they are.
    """
    # as the heaviest plus differences from it
    heaviest = max(range(len(shares)), key=lambda i: abs(shares[i]))
    reference = tensors[heaviest]
    average = reference.clone()
    for i, (tensor, share) in enumerate(zip(tensors, shares, strict=True)):
        if share != 0 and i != heaviest:
            average.add_(tensor - reference, alpha=share)
    # a difference overflowed, or was one of infinities, as masks hold; a sum is the fastest way to see either
    if not math.isfinite(float(average.sum())):
        average = average.where(average.isfinite(), weighted_sum(tensors, shares))
    return average


def weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The sum of tensors of one shape times their weights; a weight of zero leaves even infinities out."""
    total = tensors[0].new_zeros(tensors[0].shape)
    for tensor, weight in zip(tensors, weights, strict=True):
        if weight != 0:  # zero times infinity would be NaN
            total.add_(tensor, alpha=weight)
    return total
