"""What fine-tuning added to a model, and how that of several models becomes one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from compat_spec.nn import masks
from compat_spec.nn.pieces import Piece, TensorPieces
from compat_spec.nn.selection import Numbers

__all__ = ["ElectedSum", "WeightedSum", "task_vector", "task_vectors"]


def task_vector(tensor: Tensor, base: Tensor) -> Tensor:
    """`tensor - base`, a new tensor; zero where both are the same infinity, as masks hold.

    Ilharco et al., "Editing Models with Task Arithmetic", 2022, arXiv:2212.04089, section 2.
    """
    delta = tensor - base
    if not math.isfinite(float(delta.sum())):
        delta.masked_fill_(tensor == base, 0)
    return delta


def task_vectors(pieces: TensorPieces, models: Sequence[int]) -> Numbers:
    """The task vectors of these models, by index, piece by piece."""

    def of(piece: Piece) -> Sequence[Tensor]:
        assert piece.base is not None
        return [task_vector(piece.tensors[model], piece.base) for model in models]

    return Numbers(pieces, of)


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
        normalize: divide each entry by the sum of the weights that it has, unless that is zero but for rounding.
    """

    def __init__(self, like: Tensor, normalize: bool) -> None:
        self._positive, self._negative = torch.zeros_like(like), torch.zeros_like(like)
        self._weights = (torch.zeros_like(like), torch.zeros_like(like)) if normalize else None
        self._total, self._size = 0.0, 0.0

    def add(self, delta: Tensor, weight: float) -> None:
        part = delta * weight
        self._total, self._size = self._total + weight, self._size + abs(weight)
        self._positive += part.clamp(min=0)
        self._negative += part.clamp(max=0)
        if self._weights is not None:
            # compared into numbers, not into a mask, which takes several times as long
            self._weights[0].add_(torch.gt(part, 0, out=torch.empty_like(part)), alpha=weight)
            self._weights[1].add_(torch.lt(part, 0, out=torch.empty_like(part)), alpha=weight)

    def result(self) -> Tensor:
        elected = masks.at_least(self._positive + self._negative, 0)
        chosen = masks.select(elected, self._positive, self._negative)
        if self._weights is not None:
            divisor = masks.select(elected, *self._weights)
            if abs(self._total) < self._size:  # weights of both signs: where they cancel out, rounding may be left
                rounding = 4 * torch.finfo(divisor.dtype).eps * self._size
                divisor.masked_fill_(divisor.abs() <= rounding, 0)
            chosen /= divisor.add_(torch.eq(divisor, 0, out=torch.empty_like(divisor)))
        return chosen
