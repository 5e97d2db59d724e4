"""Tensors as points of a sphere: their inner products, arcs between them, and their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from compat_spec.nn.pieces import TensorPieces
from compat_spec.nn.task_vectors import task_vector

_COLLINEAR = 1e-14
"""Below this squared sine, the arc is a straight line to float64's rounding, or is not determined."""


def inner_products(pieces: TensorPieces) -> Tensor:
    """Inner products of all pairs of flattened tensors, less the base if there is one: float64 `[n, n]`, on the CPU.

    Entries that are not finite count as zero, here and below: masks hold infinities, and no direction goes there.
    """
    sums: list[list[float]] = []
    for piece in pieces:
        vectors = [_offset(tensor, piece.base).reshape(-1) for tensor in piece.tensors]
        # a product of matrices with a few long rows takes several times as long, and buffers
        sums.append([float(a @ b) for i, a in enumerate(vectors) for b in vectors[i:]])
    count = len(vectors)
    products = torch.zeros(count, count, dtype=torch.float64)
    first, second = torch.triu_indices(count, count)
    products[first, second] = products[second, first] = torch.tensor(sums, dtype=torch.float64).sum(0)
    return products


def row_inner_products(tensors: Sequence[Tensor], base: Tensor) -> Tensor:
    """The same within each row of `[rows, width]`: float64 `[rows, n, n]`, on the tensors' device."""
    offsets = torch.stack([_offset(tensor, base) for tensor in tensors], dim=1)
    return offsets @ offsets.mT


def _offset(tensor: Tensor, base: Tensor | None) -> Tensor:
    part = tensor.double()
    return finite(part if base is None else task_vector(part, base.double()))


def finite(tensor: Tensor) -> Tensor:
    """The tensor with zero for all that is not finite; the tensor itself where there is nothing of that kind."""
    return tensor if math.isfinite(float(tensor.sum())) else tensor.nan_to_num(0, 0, 0)


def arc(cosine: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """How much of its two ends the point at `t` of an arc has, by the cosine of its angle (float64, any shape).

    Shoemake, "Animating rotation with quaternion curves", 1985. Straight where the ends are parallel or opposite.
    """
    collinear = 1 - cosine.square() <= _COLLINEAR
    angle = cosine.masked_fill(collinear, 0).clamp(-1, 1).acos()
    first, second = (((1 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin())
    return first.masked_fill(collinear, 1 - t), second.masked_fill(collinear, t)


def mean_direction(products: Tensor, iterations: int, tolerance: float) -> list[float]:
    """The Karcher mean of directions, each counting the same, as a sum of the tensors: how much it has of each.

    The point of the unit sphere whose squared angles to all directions have the smallest sum, found by going along the
    mean of the directions' logarithms (Wang, Ye and Yin, 2026, arXiv:2603.04972). All of it lies in the span of the
    tensors, so their inner products are enough.

    Args:
        products: inner products of the tensors, float64 `[n, n]`. A tensor of no more than the norm `tolerance` has no
            direction; when none has, the mean is zero.
        iterations: how many steps at most.
        tolerance: a step below this is the last, and an angle below this is none.
    """
    lengths = np.sqrt(np.diag(products.numpy()))
    valid = lengths > tolerance
    if not valid.any():
        return [0.0] * len(lengths)
    scale = np.outer(lengths[valid], lengths[valid])
    cosines = products.numpy()[np.ix_(valid, valid)] / scale
    share = 1 / len(cosines)

    def norm(point: np.ndarray) -> float:
        return math.sqrt(max(float(point @ cosines @ point), 0.0))

    mean = np.full(len(cosines), share)
    mean = mean / norm(mean) if norm(mean) >= tolerance else np.eye(len(cosines))[0]
    for _ in range(iterations):
        cosine = (cosines @ mean).clip(-1, 1)
        angles = np.arccos(cosine)
        far = (angles >= tolerance) & (np.pi - angles >= tolerance)  # to the opposite point there is no shortest way
        steps = share * angles[far] / np.sin(angles[far])
        tangent = -(steps @ cosine[far]) * mean
        tangent[far] += steps
        length = norm(tangent)
        if length < tolerance:
            break
        mean = math.cos(length) * mean + math.sin(length) / length * tangent
        mean = mean / norm(mean)
    found = np.zeros(len(lengths))
    found[valid] = mean / lengths[valid]
    return [float(part) for part in found]


def combination(tensors: Sequence[Tensor], factors: Sequence[float]) -> Tensor:
    """The sum of the tensors times their factors; exactly a tensor where all are that one and the factors sum to 1."""
    heaviest = max(range(len(factors)), key=lambda i: abs(factors[i]))
    total = tensors[heaviest] * math.fsum(factors)
    for i, (tensor, factor) in enumerate(zip(tensors, factors, strict=True)):
        if i != heaviest and factor != 0:
            total.add_(task_vector(tensor, tensors[heaviest]), alpha=factor)
    if not math.isfinite(float(total.sum())):  # infinities, as masks hold, stay: times a factor of zero they are NaN
        total = total.where(tensors[heaviest].isfinite(), tensors[heaviest])
    return total
