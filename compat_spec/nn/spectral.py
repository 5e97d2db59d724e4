"""Merges matrices by their singular vectors: decorrelated ones of each task, or all with equal singular values.

Directions whose singular value is zero to rounding have no singular vectors of their own, only arbitrary ones, so they
are left out everywhere: results do not depend on how a library chooses them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def singular_parts(matrix: Tensor, rank: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The singular value decomposition of a matrix `[m, n]`, of its numerical rank r, or of at most `rank`.

    Returns: left singular vectors `[m, r]`, singular values `[r]`, largest first, and right singular vectors `[r, n]`.
    """
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    largest = float(values[0]) if len(values) else 0.0
    kept = int((values > largest * max(matrix.shape) * torch.finfo(matrix.dtype).eps).sum())
    kept = kept if rank is None else min(kept, rank)
    return left[:, :kept], values[:kept], right[:kept]


def nearest_orthonormal(matrix: Tensor) -> Tensor:
    """The matrix `[m, n]` with all its singular values that are not zero set to one.

    Of full rank, its rows or columns are then orthonormal, and no such matrix is nearer (orthogonal Procrustes).
    """
    left, _, right = singular_parts(matrix)
    return left @ right


def isotropic(matrix: Tensor) -> Tensor:
    """The matrix `[m, n]` with all its singular values that are not zero set to their mean.

    Marczak et al., "No Task Left Behind", 2025, arXiv:2502.04959 (Iso-C).
    """
    left, values, right = singular_parts(matrix)
    return (left @ right) * values.mean() if len(values) else torch.zeros_like(matrix)


def decorrelated_sum(matrices: Sequence[Tensor]) -> Tensor:
    """The sum of T matrices `[m, n]`, each cut to its min(m, n) // T first singular directions, made orthonormal.

    The left singular vectors of all matrices together are replaced by the nearest orthonormal ones, and so are the
    right. Vectors that several matrices share cannot become orthonormal; they share their place instead, so that equal
    matrices add up to one of them.

    Gargiulo et al., "Task Singular Vectors", 2024, arXiv:2412.00081 (TSV-M).
    """
    # a matrix with fewer directions than there are tasks still gets one of each
    rank = max(1, min(matrices[0].shape) // len(matrices))
    parts = [singular_parts(matrix, rank) for matrix in matrices]
    left = nearest_orthonormal(torch.cat([left for left, _, _ in parts], dim=1))
    values = torch.cat([values for _, values, _ in parts])
    right = nearest_orthonormal(torch.cat([right for _, _, right in parts], dim=0))
    return (left * values) @ right
