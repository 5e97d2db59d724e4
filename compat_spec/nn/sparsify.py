"""Which entries of task vectors count: the largest, the middle ones, or some that are drawn at random.

What counts can be made as large as the whole was: `rescaling`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from compat_spec.nn.masks import keep_
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.nn.selection import Cut, Numbers, largest

Kept: TypeAlias = Callable[[Tensor, int], Tensor]
"""Which entries of a piece of a task vector count, by the piece and where it begins: bool, in its shape."""

_NOTHING = 1e-7
"""A sum of magnitudes below this is not rescaled, as in mergekit."""


def magnitudes(delta: Tensor) -> Tensor:
    """The magnitudes of a task vector's entries, for comparisons; what is not a number counts as infinite."""
    found = delta.abs()
    return found if math.isfinite(float(found.sum())) else found.nan_to_num_(nan=math.inf, posinf=math.inf)


def keep_largest(deltas: Numbers, densities: Sequence[float]) -> list[Kept]:
    """Of each task vector the `max(1, int(density · size))` entries of the largest magnitude, the first among equals.

    Yadav et al., "TIES-Merging: Resolving Interference When Merging Models", 2023, arXiv:2306.01708, section 4.
    """
    counts = [[max(1, int(density * deltas.size))] for density in densities]
    return [_between(None, cut) for (cut,) in largest(deltas.each(magnitudes), counts)]


def keep_middle(deltas: Numbers, densities: Sequence[float], gammas: Sequence[float]) -> list[Kept]:
    """Without the share `gamma` of the largest magnitudes, and then the smallest, so that `int(density · size)` stay.

    Where both cannot be had, fewer of the largest are dropped. Davari and Belilovsky, "Model Breadcrumbs: Scaling
    Multi-Task Model Merging with Sparse Masks", 2023, arXiv:2312.06795, section 3.
    """
    counts = []
    for density, gamma in zip(densities, gammas, strict=True):
        kept = int(density * deltas.size)
        outliers = min(int(gamma * deltas.size), deltas.size - kept)
        counts.append([outliers, outliers + kept])
    return [_between(outliers, cut) for outliers, cut in largest(deltas.each(magnitudes), counts)]


def _between(outliers: Cut | None, cut: Cut) -> Kept:
    def kept(delta: Tensor, start: int) -> Tensor:
        size = magnitudes(delta)
        mask = cut.above(size, start)
        return mask if outliers is None else mask.logical_xor_(outliers.above(size, start))

    return kept


def keep_at_random(density: float, at: TensorPlace, stream: int) -> Kept:
    """Each entry with probability `density`: where the number drawn for it in this stream is below.

    Yu et al., "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch", 2023,
    arXiv:2311.03099, equation 1.
    """
    return lambda delta, start: (replace(at, start=start).random(delta.shape, stream) < density).to(delta.device)


def keep_by_rank(density: float, epsilon: float, at: TensorPlace, stream: int) -> Kept:
    """Each entry with a probability that rises with the rank of its magnitude within its row: `[rows, width]`.

    From `density - epsilon` for the smallest, evenly, to `density + epsilon` for the largest; `density` where it is
    alone. Magnitudes are compared in float32; of equal ones the first ranks lower. What was found of a piece is
    remembered, a bit for each entry, for finding ranks takes longer than all else.

    Deep, Bhardwaj and Poria, "DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling",
    2024, arXiv:2406.11617, section 3.1.
    """
    remembered: dict[tuple[int, int], np.ndarray] = {}

    def kept(delta: Tensor, start: int) -> Tensor:
        key = start, delta.numel()
        if key in remembered:
            bits = np.unpackbits(remembered[key], count=delta.numel()).view(np.bool_)
            return torch.from_numpy(bits).view(delta.shape).to(delta.device)
        width = delta.shape[-1]
        if width == 1:
            chances = torch.tensor([[density]], device=delta.device).expand(delta.shape)
        else:
            by_rank = torch.linspace(density - epsilon, density + epsilon, width, device=delta.device)
            ascending = _argsort(delta.abs().float())
            chances = torch.empty(ascending.shape, device=delta.device)
            chances.scatter_(1, ascending, by_rank.expand(ascending.shape))
        mask = replace(at, start=start).random(delta.shape, stream).to(delta.device) < chances
        remembered[key] = np.packbits(mask.cpu().numpy().reshape(-1))
        return mask

    return kept


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


def rescalings(deltas: Numbers, kept: Sequence[Kept]) -> list[float]:
    """For each task vector, the factor that makes the sum of the magnitudes of what is kept that of the whole.

    Sums are in float64. 1 where nothing is left, or something infinite.
    """
    sums = []
    for start, of in deltas:
        pairs = [(delta, mask(delta, start)) for delta, mask in zip(of, kept, strict=True)]
        sums.append([(_sum(d.abs_()), _sum(keep_(d, mask))) for d, mask in pairs])
    factors = []
    for of_model in zip(*sums, strict=True):
        whole, left = (math.fsum(parts) for parts in zip(*of_model, strict=True))
        enough = min(whole, left) >= _NOTHING and math.isfinite(whole) and math.isfinite(left)
        factors.append(whole / left if enough else 1.0)
    return factors


def _sum(values: Tensor) -> float:
    return float(values.sum(dtype=torch.float64))
