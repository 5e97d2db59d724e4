"""Goes through large tensors piece by piece, so that what is made on the way stays small."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

PIECE = 1 << 18
"""Entries of a piece on a CPU: what several models' pieces in float32 take still fits into its cache."""

PIECE_ON_GPU = 1 << 24


def pieces(like: Tensor, width: int = 1) -> Iterator[slice]:
    """Slices over the rows, of `width` entries each, of a tensor; by default over its entries, flattened."""
    size = PIECE if like.device.type == "cpu" else PIECE_ON_GPU
    rows = like.numel() // max(width, 1)
    step = max(size // max(width, 1), 1)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
