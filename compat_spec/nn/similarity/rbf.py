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


class RbfKernel:
    """The kernel less what it is at the median distance: HSIC does not change when a constant is added to a kernel.

    In wide features all distances are nearly the same; so nothing is lost of how they differ.

    Attributes:
        median: of the squared distances, at the scale of the layer.
        trouble: why there is no such kernel, or an empty string.
        largest: the largest squared distance of a token from the mean.
    """

    def __init__(self, layer: Layer, sigma: float, dtype: torch.dtype) -> None:
        self._distances = SquaredDistances(layer)
        self._sharpness = 0.5 / sigma**2
        self._at_median = math.exp(-self._sharpness) if sigma >= _NARROW else 0.0
        self.median = math.nan if layer.trouble else self._distances.median(dtype)
        self.largest = math.nan if layer.trouble else float(self._distances.norms.max())
        self.trouble = layer.trouble or ("" if self.median else "the median distance between their tokens is 0")

    def tile(self, rows: slice, columns: slice, out: Tensor) -> None:
        self._distances.tile(rows, columns, out)
        out.mul_(-self._sharpness / self.median if self.median else math.nan)
        if self._at_median:
            out.add_(self._sharpness).expm1_().mul_(self._at_median)
        else:
            out.exp_()

    def diagonal(self) -> Tensor:
        return torch.full_like(self._distances.norms, 1 - self._at_median)

    def row_sums(self, groups: Sequence[slice]) -> None:
        return None
