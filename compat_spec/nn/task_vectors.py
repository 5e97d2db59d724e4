"""What fine-tuning added to a model, and how that of several models becomes one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from compat_spec.nn.pieces import pieces

__all__ = ["ElectedSum", "WeightedSum", "task_vector"]


def task_vector(tensor: Tensor, base: Tensor) -> Tensor:
    """`tensor - base`, a new tensor; zero where both are the same infinity, as masks hold.

    Ilharco et al., "Editing Models with Task Arithmetic", 2022, arXiv:2212.04089, section 2.
    """
    delta = tensor - base
    if not math.isfinite(float(delta.sum())):
        delta.masked_fill_(tensor == base, 0)
    return delta


class WeightedSum:
    """The weighted sum of task vectors, which are given one after the other.

    Args:
        like: what the sum is like: shape, type, device.
        normalize: divide it by the sum of the weights, unless that is zero.
    """

    def __init__(self, like: Tensor, normalize: bool) -> None:
        self._sum = torch.zeros_like(like)
        self._weights = 0.0
        self._normalize = normalize

    def add(self, delta: Tensor, weight: float) -> None:
        self._sum.add_(delta, alpha=weight)
        self._weights += weight

    def result(self) -> Tensor:
        if self._normalize and abs(self._weights) >= 1e-8:
            self._sum.div_(self._weights)
        return self._sum


class ElectedSum:
    """The weighted sum of those entries of task vectors whose sign is that of the whole weighted sum, or + for zero.

    Yadav et al., "TIES-Merging: Resolving Interference When Merging Models", 2023, arXiv:2306.01708, algorithm 1. The
    sums of positive and of negative entries are kept apart, so that the task vectors need not be kept.

    Args:
        like: what the sum is like: shape, type, device.
        normalize: divide each entry by the sum of the weights that it has, unless that is zero.
    """

    def __init__(self, like: Tensor, normalize: bool) -> None:
        self._shape = like.shape
        self._sums = like.new_zeros(2, like.numel())  # of positive entries, and of negative ones
        self._weights = torch.zeros_like(self._sums) if normalize else None

    def add(self, delta: Tensor, weight: float) -> None:
        flat = delta.reshape(-1)
        for piece in pieces(flat):
            part = flat[piece] * weight
            self._sums[0, piece] += part.clamp(min=0)
            self._sums[1, piece] += part.clamp(max=0)
            if self._weights is not None:
                self._weights[0, piece].add_(part > 0, alpha=weight)
                self._weights[1, piece].add_(part < 0, alpha=weight)

    def result(self) -> Tensor:
        positive: Tensor = self._sums[0]
        negative = self._sums[1]
        for piece in pieces(positive):
            elected = positive[piece] + negative[piece] >= 0
            chosen = torch.where(elected, positive[piece], negative[piece])
            if self._weights is not None:
                divisor = torch.where(elected, self._weights[0, piece], self._weights[1, piece])
                chosen /= divisor.masked_fill_(divisor == 0, 1)
            positive[piece] = chosen
        return positive.view(self._shape)
