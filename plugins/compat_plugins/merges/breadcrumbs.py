"""The `breadcrumbs` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from compat_plugins.merges.task_vectors import SparseTaskVectorMerge
from compat_spec.nn.per_tensor import PerModel, TensorPlace

if TYPE_CHECKING:
    from compat_spec.nn.selection import Numbers
    from compat_spec.nn.sparsify import Kept


class Breadcrumbs(SparseTaskVectorMerge):
    """Adds the models' differences from their base to it, without the largest and the smallest of each tensor.

    Davari and Belilovsky, "Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks", 2023,
    arXiv:2312.06795.
    """

    gamma: PerModel[Annotated[float, Field(ge=0, lt=1)]] = Field(
        default=0.01,
        description="The share of the largest that is dropped, less where `density` leaves less, and none where "
        "`density` is 1; as many of the smallest are dropped as leave the share `density`.",
    )

    def choose(self, deltas: Numbers, models: Sequence[int], densities: Sequence[float], at: TensorPlace) -> list[Kept]:
        from compat_spec.nn.sparsify import keep_middle

        gammas = at.values(self.gamma, len(self.models))
        return keep_middle(deltas, densities, [gammas[model] for model in models])
