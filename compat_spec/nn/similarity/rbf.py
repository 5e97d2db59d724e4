"""The kernel exp(-|x_i - x_j|² / (2 sigma²)), with sigma as a multiple of the median distance between tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from compat_spec.nn.similarity.distances import SquaredDistances
from compat_spec.nn.similarity.layer import Layer

_NARROW = 0.25
"""With a sigma below this, the kernel of tokens at the median distance is next to nothing."""
_SHARPEST = 1e20
"""Beyond this, and below its inverse, a sigma changes nothing but the scale of the kernel."""


class RbfKernel:
    """The kernel less what it is at the median distance: HSIC does not change when a constant is added to a kernel.

    In wide features, or with a wide kernel, all entries are nearly the same; so nothing is lost of how they differ.

    Attributes:
        median: of the squared distances, at the scale of the layer.
        scale: what the kernel was divided by, so that a wide one has entries of about 1.
        trouble: why there is no such kernel, or an empty string.
        lost: how many times as large as a difference that counts are the numbers whose difference it is.
    """

    def __init__(self, layer: Layer, sigma: float, dtype: torch.dtype) -> None:
        self._distances = SquaredDistances(layer, dtype)
        self._sharpness = min(max(0.5 / sigma / sigma, 1 / _SHARPEST), _SHARPEST)
        self._at_median = math.exp(-self._sharpness) if sigma >= _NARROW else 0.0
        self.scale = min(1.0, self._sharpness)
        self.median = math.nan if layer.trouble else self._distances.median(dtype)
        self.trouble = layer.trouble or ("" if self.median else "the median distance between their tokens is 0")
        # distances of tokens far from the mean are differences of large numbers
        largest = float(self._distances.norms.max())
        self.lost = max(1.0, 2 * self._sharpness) * largest / self.median if self.median else math.inf

    def tile(self, rows: slice, columns: slice, out: Tensor) -> None:
        self._distances.tile(rows, columns, out)
        out.mul_(-self._sharpness / self.median if self.median else math.nan)
        if self._at_median:
            out.add_(self._sharpness).expm1_().mul_(self._at_median / self.scale)
        else:
            out.exp_()

    def diagonal(self) -> Tensor:
        diagonal = -math.expm1(-self._sharpness) if self._at_median else 1.0
        return torch.full_like(self._distances.norms, diagonal / self.scale)

    def row_sums(self, groups: Sequence[slice]) -> None:
        return None
