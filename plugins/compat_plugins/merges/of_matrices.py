"""What merges have in common that add the matrices of task vectors up in a way of their own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field, FiniteFloat

from compat_plugins.merges.deltas import finite_deltas, plus_mean_delta
from compat_plugins.merges.task_vectors import BaseModelName
from compat_spec.components import TensorMerge
from compat_spec.nn.per_tensor import PerTensor, TensorPlace

if TYPE_CHECKING:
    from torch import Tensor


class OfMatrices(TensorMerge):
    """base + lambda · (what `add_up` makes of the task vectors' matrices); other tensors get their mean."""

    base: BaseModelName
    lambda_: PerTensor[FiniteFloat] = Field(
        default=1.0, alias="lambda", description="The factor of what is added to the base."
    )

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        assert base is not None
        if base.dim() != 2:
            return plus_mean_delta(base, tensors, at.value(self.lambda_))
        return base + at.value(self.lambda_) * self.add_up(finite_deltas(tensors, base, self.models, at.name))

    @abstractmethod
    def add_up(self, deltas: Sequence[Tensor]) -> Tensor:
        """One matrix of those that the models differ by from their base, all finite."""
