"""The `linear` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field, FiniteFloat, model_validator

from compat_plugins.merges.precision import are_numbers, working_dtype
from compat_spec.components import TensorMerge

if TYPE_CHECKING:
    from torch import Tensor


class Linear(TensorMerge):
    """The weighted average of the models' parameters.

    Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
    inference time", 2022, arXiv:2203.05482.
    """

    weights: tuple[FiniteFloat, ...] | None = Field(
        default=None, description="One per model; equal weights by default.", examples=[[0.7, 0.3]]
    )
    normalize: bool = Field(default=True, description="Divide the weights by their sum.")

    @model_validator(mode="after")
    def _weights_fit(self) -> Linear:
        if self.weights is None:
            return self
        if len(self.weights) != len(self.models):
            raise ValueError(f"{len(self.weights)} weights for {len(self.models)} models; give one per model")
        if self.normalize and abs(sum(self.weights)) < 1e-8:
            raise ValueError("the weights add up to zero and cannot be normalized; change them or set normalize: false")
        return self

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, name: str) -> Tensor:
        first = tensors[0]
        if not are_numbers(tensors, name):
            return first
        weights = self.weights or (1.0,) * len(tensors)
        if not self.normalize:
            return _weighted_sum(tensors, weights).to(first.dtype)
        shares = [weight / sum(weights) for weight in weights]
        # as the heaviest model plus differences from it, so that equal tensors, and a single weight, come out exactly
        heaviest = max(range(len(weights)), key=lambda i: abs(weights[i]))
        reference = tensors[heaviest].to(working_dtype(tensors))
        average = reference.clone()
        for i, (tensor, share) in enumerate(zip(tensors, shares, strict=True)):
            if share != 0 and i != heaviest:
                average.add_(tensor.to(reference.dtype) - reference, alpha=share)
        finite = average.isfinite()
        if not bool(finite.all()):  # a difference overflowed, or was one of infinities, as masks hold
            average = average.where(finite, _weighted_sum(tensors, shares))
        return average.to(first.dtype)


def _weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = tensors[0].new_zeros(tensors[0].shape, dtype=working_dtype(tensors))
    for tensor, weight in zip(tensors, weights, strict=True):
        if weight != 0:  # zero times infinity would be NaN
            total.add_(tensor.to(total.dtype), alpha=weight)
    return total
