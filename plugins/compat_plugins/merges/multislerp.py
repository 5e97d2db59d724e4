"""The `multislerp` merge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, FiniteFloat, model_validator

from compat_plugins.merges.weights import check_sum, shares
from compat_spec.components import ModelName, TensorMerge
from compat_spec.errors import CompatError
from compat_spec.nn.per_tensor import PerModel, TensorPlace
from compat_spec.nn.pieces import TensorPieces

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDING = 1e-7
"""A mean of unit vectors shorter than this is what rounding has left of nothing."""


class Multislerp(TensorMerge):
    """Averages the directions of any number of models' tensors on the sphere, and their norms apart.

    Goddard, "Multi-SLERP", 2025, https://goddard.blog/posts/multislerp-wow-what-a-cool-idea. The weighted mean of the
    unit vectors, brought back to the sphere, times the weighted mean of the norms: seen from there, the weighted
    tangents to the models cancel each other out, so that there is nothing to go on. With a base, the differences from
    it are averaged.
    """

    unit = "entry"

    base: ModelName | None = Field(default=None, description="The model that the others were fine-tuned from.")
    weight: PerModel[FiniteFloat] = Field(
        default=1.0, description="How much each model counts: one number for all, or one per model.", examples=[[7, 3]]
    )
    normalize_weights: bool = Field(default=True, description="Divide the weights by their sum.")
    eps: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=1e-8,
        description="What is added to norms, and the norm below which the mean of the unit vectors has no direction.",
    )

    @model_validator(mode="after")
    def _weights_fit(self) -> Multislerp:
        if self.normalize_weights:
            check_sum(self.weight)
        return self

    def survey(self, pieces: TensorPieces, *, at: TensorPlace) -> Sequence[float]:
        """How much the result has of each tensor."""
        from compat_spec.nn.sphere import inner_products

        if len(self.models) == 1:
            return (1.0,)
        weights = at.values(self.weight, len(self.models))
        if self.normalize_weights:
            weights = shares(weights, at)
        return self._factors(weights, inner_products(pieces), at)

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        from compat_spec.nn.sphere import combination
        from compat_spec.nn.task_vectors import WeightedSum, task_vector

        if len(tensors) == 1:
            return tensors[0].clone()
        if base is None:
            return combination(tensors, at.surveyed)
        total = WeightedSum(base, normalize=False)
        for tensor, factor in zip(tensors, at.surveyed, strict=True):
            total.add(task_vector(tensor, base), factor)
        return total.result().add_(base)

    def _factors(self, weights: Sequence[float], products: Tensor, at: TensorPlace) -> Sequence[float]:
        """How much the result has of each tensor, by the tensors' inner products."""
        norms = products.diagonal().sqrt().tolist()
        units = products.new_tensor([weight / (norm + self.eps) for weight, norm in zip(weights, norms, strict=True)])
        length = math.sqrt(max(float(units @ products @ units), 0.0))
        if length >= max(self.eps, _ROUNDING):
            average = sum(weight * norm for weight, norm in zip(weights, norms, strict=True))
            factors: list[float] = (units * (average / length)).tolist()
            return factors
        if len(weights) == 2 or not any(norms):
            return weights
        raise CompatError(
            f"the weighted directions of {at.name} cancel each other out, so that they have no mean; change the weights"
        )
