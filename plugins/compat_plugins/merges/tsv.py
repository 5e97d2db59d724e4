"""The `tsv` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field, FiniteFloat

from compat_plugins.merges.deltas import finite_deltas, plus_mean_delta
from compat_plugins.merges.task_vectors import BaseModelName
from compat_spec.components import TensorMerge
from compat_spec.nn.per_tensor import PerTensor, TensorPlace

if TYPE_CHECKING:
    from torch import Tensor


class TSV(TensorMerge):
    """The base plus the models' task vectors, whose singular vectors are made orthogonal so as not to interfere.

    Of each matrix of T models, the first 1/T of each model's singular directions are kept, and decorrelated together on
    either side. What is no matrix (biases, norms) gets the mean of the task vectors.

    Gargiulo, Crisostomi, Bucarelli, Scardapane, Silvestri, Rodolà, "Task Singular Vectors: Reducing Task Interference
    in Model Merging", 2024, arXiv:2412.00081 (TSV-M).
    """

    base: BaseModelName
    lambda_: PerTensor[FiniteFloat] = Field(
        default=1.0, alias="lambda", description="The factor of what is added to the base."
    )

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        from compat_spec.nn.spectral import decorrelated_sum

        assert base is not None
        if base.dim() != 2:
            return plus_mean_delta(base, tensors, at.value(self.lambda_))
        deltas = finite_deltas(tensors, base, self.models, at.name)
        return base + at.value(self.lambda_) * decorrelated_sum(deltas)
