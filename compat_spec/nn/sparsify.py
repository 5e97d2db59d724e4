"""Sets entries of a task vector to zero: the smallest, outliers, or some that are drawn at random.

All functions change the tensor that they are given. What stays can be made as large as the whole was: `rescaling`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from compat_spec.nn.order import largest
from compat_spec.nn.pieces import pieces

_NOTHING = 1e-7
"""A sum of magnitudes below this is not rescaled, as in mergekit."""


def keep_largest_(delta: Tensor, density: float) -> None:
    """Keeps the `max(1, int(density · size))` entries of the largest magnitude, the first among equal ones.

    Yadav et al., "TIES-Merging: Resolving Interference When Merging Models", 2023, arXiv:2306.01708, section 4.
    """
    (kept,) = largest(delta, [max(1, int(density * delta.numel()))])
    delta.masked_fill_(kept.logical_not_(), 0)


def keep_middle_(delta: Tensor, density: float, gamma: float) -> None:
    """Drops the share `gamma` of the largest magnitudes, then the smallest, so that `int(density · size)` stay.

    Where both cannot be had, fewer of the largest are dropped. Davari and Belilovsky, "Model Breadcrumbs: Scaling
    Multi-Task Model Merging with Sparse Masks", 2023, arXiv:2312.06795, section 3.
    """
    kept = int(density * delta.numel())
    outliers = min(int(gamma * delta.numel()), delta.numel() - kept)
    too_large, large = largest(delta, [outliers, outliers + kept])
    delta.masked_fill_(large.logical_not_().logical_or_(too_large), 0)


def keep_at_random_(delta: Tensor, density: float, draws: Tensor) -> None:
    """Keeps each entry with probability `density`: where its draw, evenly from [0, 1), is below.

    Yu et al., "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch", 2023,
    arXiv:2311.03099, equation 1.
    """
    delta.masked_fill_((draws >= density).to(delta.device), 0)


def keep_by_rank_(delta: Tensor, density: float, epsilon: float, draws: Tensor) -> None:
    """Keeps each entry with a probability that rises with the rank of its magnitude within its row.

    From `density - epsilon` for the smallest, evenly, to `density + epsilon` for the largest; `density` where it is
    alone. A row is along the last dimension. Magnitudes are compared in float32; of equal ones the first ranks lower.

    Deep, Bhardwaj and Poria, "DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling",
    2024, arXiv:2406.11617, section 3.1.
    """
    width = delta.shape[-1] if delta.dim() else 1
    if delta.numel() == 0:
        return
    if width == 1:
        keep_at_random_(delta, density, draws)
        return
    rows, drawn = delta.view(-1, width), draws.view(-1, width)
    by_rank = torch.linspace(density - epsilon, density + epsilon, width, device=delta.device)
    for piece in pieces(delta, width):
        ascending = _argsort(rows[piece].abs().float())
        chance = torch.empty(ascending.shape, device=delta.device)
        chance.scatter_(1, ascending, by_rank.expand(ascending.shape))
        rows[piece].masked_fill_(drawn[piece].to(delta.device) >= chance, 0)


def _argsort(magnitudes: Tensor) -> Tensor:
    """Stable and ascending, within rows. float32 `[rows, width]`, not negative."""
    if magnitudes.device.type != "cpu":
        return magnitudes.argsort(dim=1, stable=True)
    # the bits of such numbers are ordered as they are; with the position behind them, sorting (which is several times
    # as fast as argsort) is stable, and the position is the index
    keys = magnitudes.numpy().view(np.uint32).astype(np.uint64) << np.uint64(32)
    keys |= np.arange(keys.shape[1], dtype=np.uint64)
    keys.sort(axis=1)
    keys &= np.uint64(0xFFFFFFFF)
    return torch.from_numpy(keys.view(np.int64))


def size_of(delta: Tensor) -> float:
    """The sum of the magnitudes, to nearly double precision."""
    flat = delta.reshape(-1)
    return math.fsum(float(flat[piece].abs().sum()) for piece in pieces(flat))


def rescaling(delta: Tensor, size: float) -> float:
    """The factor that makes the sum of the magnitudes `size`; 1 where nothing is left, or something infinite."""
    now = size_of(delta)
    enough = min(now, size) >= _NOTHING and math.isfinite(now) and math.isfinite(size)
    return size / now if enough else 1.0
