"""The `iso_c` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compat_plugins.merges.of_matrices import OfMatrices

if TYPE_CHECKING:
    from torch import Tensor


class IsoC(OfMatrices):
    """The base plus the sum of the models' task vectors, with all singular values of each matrix made equal.

    Directions that only one model needs then count as much as those that all of them share. What is no matrix (biases,
    norms) gets the mean of the task vectors.

    Marczak, Magistri, Cygert, Twardowski, Bagdanov, van de Weijer, "No Task Left Behind: Isotropic Model Merging with
    Common and Task-Specific Subspaces", 2025, arXiv:2502.04959 (Iso-C).
    """

    def add_up(self, deltas: Sequence[Tensor]) -> Tensor:
        from compat_spec.nn.spectral import isotropic

        return isotropic(sum(deltas[1:], deltas[0]))
