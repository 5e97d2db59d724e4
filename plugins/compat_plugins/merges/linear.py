"""The `linear` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, FiniteFloat, model_validator

from compat_plugins.merges.weights import check_sum, shares
from compat_spec.components import TensorMerge
from compat_spec.nn.per_tensor import PerModel, TensorPlace
from compat_spec.nn.pieces import Unit

if TYPE_CHECKING:
    from torch import Tensor


class Linear(TensorMerge):
    """The weighted average of the models' parameters.

    Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
    inference time", 2022, arXiv:2203.05482.
    """

    unit: ClassVar[Unit] = "entry"

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
        from compat_spec.nn.averages import weighted_average, weighted_sum

        weights = at.values(self.weight, len(tensors))
        if not self.normalize:
            return weighted_sum(tensors, weights)
        return weighted_average(tensors, shares(weights, at))
