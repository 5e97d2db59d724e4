"""Linear maps from the features of some blocks to those of another: fitted by ridge regression, to be trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Scaled:
    """Features of one block, and how to bring them to mean 0 and variance 1; a constant one stays constant.

    Attributes:
        mean, deviation: of each feature `[width]`, float32.
    """

    def __init__(self, features: Tensor) -> None:
        exact = features.to("cpu" if features.device.type == "mps" else features.device).double()
        mean, deviation = exact.mean(0), exact.std(0, correction=0)
        deviation = torch.where(deviation > 0, deviation, 1.0)
        self.mean, self.deviation = (value.to(features.device, torch.float32) for value in (mean, deviation))
        self._exact = (exact - mean) / deviation

    def regression(self, y: Scaled, ridge: float) -> Tensor:
        """`(X'X / n + ridge I)^-1 X'Y / n`, float64 `[width, width of y]`."""
        x, n = self._exact, len(self._exact)
        gram = x.T @ x / n
        gram.diagonal().add_(ridge)
        return torch.cholesky_solve(x.T @ y._exact / n, torch.linalg.cholesky(gram))

    def apply(self, hidden: Tensor) -> Tensor:
        return (hidden.float() - self.mean) / self.deviation

    def undo(self, scaled: Tensor) -> Tensor:
        return scaled * self.deviation + self.mean


class LinearMaps:
    """The linear maps into one block of B, from some blocks of A.

    They map features of mean 0 and variance 1 to such features, so that one learning rate suits all networks.
    """

    def __init__(self, block: int, sources: Sequence[int], xs: Sequence[Scaled], y: Scaled, ridge: float) -> None:
        self.block, self.sources = block, sources
        self._scale = y
        weights = [x.regression(y, ridge) for x in xs]
        self.weight = nn.Parameter(torch.stack(weights).to(y.mean))  # [sources, width of a, width of b]
        self.bias = nn.Parameter(y.mean.new_zeros(len(xs), 1, y.mean.shape[-1]))  # [sources, 1, width of b]

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [self.weight, self.bias]

    def __call__(self, sources: slice, hidden: Tensor) -> Tensor:
        """Scaled features of some sources `[sources, rows, seq, width of a]` -> `[sources, rows, seq, width of b]`."""
        mapped = torch.baddbmm(self.bias[sources], hidden.flatten(1, 2), self.weight[sources])
        return self._scale.undo(mapped).view(*hidden.shape[:3], -1)
