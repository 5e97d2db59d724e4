"""Features for tests of similarity."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related(n: int, widths: list[int], seed: int) -> list[Tensor]:
    """Layers that share something: random maps of common causes, and noise."""
    causes = gaussian(n, 3, seed=99)
    return [
        causes @ gaussian(3, w, seed=seed + i) + 0.5 * gaussian(n, w, seed=seed + 50 + i) for i, w in enumerate(widths)
    ]


def rotation(width: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(gaussian(width, width, seed=seed)).Q
