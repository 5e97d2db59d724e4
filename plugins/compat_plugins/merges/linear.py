"""The `linear` merge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, FiniteFloat, model_validator

from compat_plugins.merges.weights import check_sum, shares
from compat_spec.components import TensorMerge
from compat_spec.nn.per_tensor import PerModel, TensorPlace

if TYPE_CHECKING:
    from torch import Tensor


class Linear(TensorMerge):
    """The weighted average of the models' parameters.

    Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
    inference time", 2022, arXiv:2203.05482.
    """

    elementwise: ClassVar[bool] = True

    weight: PerModel[FiniteFloat] = Field(
        default=1.0, description="How much each model counts: one number for all, or one per model.", examples=[[7, 3]]
    )
    normalize: bool = Field(default=True, description="Divide the weights by their sum.")

    @model_validator(mode="after")
    def _weights_fit(self) -> Linear:
        if self.normalize:
            check_sum(self.weight)
        return self

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        weights = at.values(self.weight, len(tensors))
        if not self.normalize:
            return _weighted_sum(tensors, weights)
        weights = shares(weights, at)
        # as the heaviest model plus differences from it, so that equal tensors, and a single weight, come out exactly
        heaviest = max(range(len(weights)), key=lambda i: abs(weights[i]))
        reference = tensors[heaviest]
        average = reference.clone()
        for i, (tensor, share) in enumerate(zip(tensors, weights, strict=True)):
            if share != 0 and i != heaviest:
                average.add_(tensor - reference, alpha=share)
        # a difference overflowed, or was one of infinities, as masks hold; a sum is the fastest way to see either
        if not math.isfinite(float(average.sum())):
            average = average.where(average.isfinite(), _weighted_sum(tensors, weights))
        return average


def _weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = tensors[0].new_zeros(tensors[0].shape)
    for tensor, weight in zip(tensors, weights, strict=True):
        if weight != 0:  # zero times infinity would be NaN
            total.add_(tensor, alpha=weight)
    return total
