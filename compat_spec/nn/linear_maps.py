"""Linear maps from the features of some blocks to those of another: fitted by ridge regression, to be trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Scale:
    """Brings features `[..., width]` to mean 0 and variance 1, and back.

    Attributes:
        mean, deviation: of each feature `[width]`, float32; 1 is the deviation of a constant one.
    """

    mean: Tensor
    deviation: Tensor

    def apply(self, features: Tensor) -> Tensor:
        """Scaled, in float32."""
        return (features.float() - self.mean) / self.deviation

    def undo(self, scaled: Tensor) -> Tensor:
        return scaled * self.deviation + self.mean


class ScaledFeatures:
    """The features of one block `[n, width]`, with the scale that was found of them."""

    def __init__(self, features: Tensor) -> None:
        exact = _exact(features)
        mean, deviation = exact.mean(0), exact.std(0, correction=0)
        deviation = torch.where(deviation > 0, deviation, 1.0)
        self.values = ((exact - mean) / deviation).to(features.device, torch.float32)
        self.scale = Scale(mean.to(self.values), deviation.to(self.values))

    def regressions(self, targets: Sequence[ScaledFeatures], ridge: float) -> list[Tensor]:
        """Ridge regression of each of some features Y on these, `(X'X / n + ridge I)^-1 X'Y / n`.

        Returns `[width, width of Y]` each, float32, computed in float64.
        """
        x, n = _exact(self.values), len(self.values)
        gram = x.T @ x / n
        gram.diagonal().add_(ridge)
        factor = torch.linalg.cholesky(gram)
        found = (torch.cholesky_solve(x.T @ _exact(y.values) / n, factor) for y in targets)
        return [weight.to(self.values) for weight in found]


class LinearMaps:
    """The linear maps into one block of a network, from some blocks of another, between scaled features.

    One learning rate suits them all, whatever the scale of the networks.

    Attributes:
        sources, block: they map from each of these blocks to this one.
        weight: `[sources, width of a, width of b]`, float32.
        bias: `[sources, 1, width of b]`, float32.
    """

    def __init__(self, sources: Sequence[int], block: int, weights: Sequence[Tensor], scale: Scale) -> None:
        self.sources, self.block = sources, block
        self.weight = nn.Parameter(torch.stack(list(weights)))
        self.bias = nn.Parameter(self.weight.new_zeros(len(weights), 1, self.weight.shape[-1]))
        self._scale = scale

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [self.weight, self.bias]

    def __call__(self, sources: slice, scaled: Tensor) -> Tensor:
        """Scaled features of some sources `[sources, rows, seq, width of a]` -> `[sources, rows, seq, width of b]`."""
        mapped = torch.baddbmm(self.bias[sources], scaled.flatten(1, 2), self.weight[sources])
        return self._scale.undo(mapped).view(*scaled.shape[:3], -1)


def _exact(features: Tensor) -> Tensor:
    """In float64, on the CPU where their device has none."""
    return features.to("cpu" if features.device.type == "mps" else features.device).double()
