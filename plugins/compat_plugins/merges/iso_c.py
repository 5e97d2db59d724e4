"""The `iso_c` merge."""

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


class IsoC(TensorMerge):
    """The base plus the sum of the models' task vectors, with all singular values of each matrix made equal.

    Directions that only one model needs then count as much as those that all of them share. What is no matrix (biases,
    norms) gets the mean of the task vectors.

    Marczak, Magistri, Cygert, Twardowski, Bagdanov, van de Weijer, "No Task Left Behind: Isotropic Model Merging with
    Common and Task-Specific Subspaces", 2025, arXiv:2502.04959 (Iso-C).
    """

    base: BaseModelName
    lambda_: PerTensor[FiniteFloat] = Field(
        default=1.0, alias="lambda", description="The factor of what is added to the base."
    )

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        from compat_spec.nn.spectral import isotropic

        assert base is not None
        if base.dim() != 2:
            return plus_mean_delta(base, tensors, at.value(self.lambda_))
        deltas = finite_deltas(tensors, base, self.models, at.name)
        return base + at.value(self.lambda_) * isotropic(sum(deltas[1:], deltas[0]))
