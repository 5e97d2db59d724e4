"""The `ties` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from compat_plugins.merges.task_vectors import NORMALIZE_ELECTED, SparseTaskVectorMerge
from compat_spec.nn.per_tensor import TensorPlace

if TYPE_CHECKING:
    from compat_spec.nn.selection import Numbers
    from compat_spec.nn.sparsify import Kept


class Ties(SparseTaskVectorMerge):
    """Adds the largest of the models' differences from their base to it, those that agree with the sum in sign.

    Yadav et al., "TIES-Merging: Resolving Interference When Merging Models", 2023, arXiv:2306.01708. Trimmed within
    each tensor.
    """

    elected: ClassVar[bool] = True

    normalize: bool = Field(default=True, description=NORMALIZE_ELECTED)

    def choose(self, deltas: Numbers, models: Sequence[int], densities: Sequence[float], at: TensorPlace) -> list[Kept]:
        from compat_spec.nn.sparsify import keep_largest

        return keep_largest(deltas, densities)
