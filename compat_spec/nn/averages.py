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
    # from the average so far a step towards each next tensor, as differences of equal numbers are exactly zero;
    # negative shares come last, so that the sum of shares so far never is zero
    first, *others = sorted((i for i, share in enumerate(shares) if share != 0), key=lambda i: shares[i] < 0)
    average, so_far = tensors[first], shares[first]
    for i in others:
        so_far += shares[i]
        average = average.lerp(tensors[i], shares[i] / so_far)
    if not others:
        average = average.clone()
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
