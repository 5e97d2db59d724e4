"""The `dare_linear` merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from compat_plugins.merges.task_vectors import RESCALE, SparseTaskVectorMerge
from compat_spec.nn.per_tensor import TensorPlace

if TYPE_CHECKING:
    from torch import Tensor


class DareLinear(SparseTaskVectorMerge):
    """Adds the models' differences from their base to it, after dropping entries at random and rescaling the others.

    Yu et al., "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch", 2023,
    arXiv:2311.03099. Rescaled to the sum of magnitudes that the tensor had, not by 1/density, as in mergekit.
    """

    rescale: bool = Field(default=True, description=RESCALE)

    def uses_seed(self) -> bool:
        return True

    def keep(self, delta: Tensor, density: float, model: int, at: TensorPlace) -> None:
        from compat_spec.nn.sparsify import keep_at_random_

        keep_at_random_(delta, density, at.random(delta.shape, stream=model))
