"""The `tsv` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compat_plugins.merges.of_matrices import OfMatrices

if TYPE_CHECKING:
    from torch import Tensor


class TSV(OfMatrices):
    """The base plus the models' task vectors, whose singular vectors are made orthogonal so as not to interfere.

    Of each matrix of T models, the first 1/T of each model's singular directions are kept, and decorrelated together on
    either side. What is no matrix (biases, norms) gets the mean of the task vectors.

    Gargiulo, Crisostomi, Bucarelli, Scardapane, Silvestri, Rodolà, "Task Singular Vectors: Reducing Task Interference
    in Model Merging", 2024, arXiv:2412.00081 (TSV-M).
    """

    def add_up(self, deltas: Sequence[Tensor]) -> Tensor:
        from compat_spec.nn.spectral import decorrelated_sum

        return decorrelated_sum(deltas)
