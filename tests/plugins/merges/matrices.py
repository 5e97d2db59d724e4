"""Random matrices of every kind that merges of whole tensors meet."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SHAPES = [(), (3,), (0,), (2, 3, 4), (5, 3), (3, 7), (6, 6), (1, 4), (4, 0)]
MATRICES = [shape for shape in SHAPES if len(shape) == 2 and 0 not in shape]


def some(shape: tuple[int, ...], count: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(count)]


def orthogonal(size: int, seed: int) -> Tensor:
    return torch.linalg.qr(some((size, size), 1, seed=seed)[0]).Q


def singular_values(matrix: Tensor) -> np.ndarray:
    return np.linalg.svd(matrix.double().numpy(), compute_uv=False)
