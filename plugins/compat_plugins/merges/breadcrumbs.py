"""The `breadcrumbs` merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from compat_plugins.merges.task_vectors import SparseTaskVectorMerge
from compat_spec.nn.per_tensor import PerModel, TensorPlace

if TYPE_CHECKING:
    from torch import Tensor


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

    def keep(self, delta: Tensor, density: float, model: int, at: TensorPlace) -> None:
        from compat_spec.nn.sparsify import keep_middle_

        keep_middle_(delta, density, at.values(self.gamma, len(self.models))[model])
