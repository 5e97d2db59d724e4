"""The `dare_linear` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from compat_plugins.merges.task_vectors import RESCALE, SparseTaskVectorMerge
from compat_spec.nn.per_tensor import TensorPlace

if TYPE_CHECKING:
    from compat_spec.nn.selection import Numbers
    from compat_spec.nn.sparsify import Kept


class DareLinear(SparseTaskVectorMerge):
    """Adds the models' differences from their base to it, after dropping entries at random and rescaling the others.

    Yu et al., "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch", 2023,
    arXiv:2311.03099. Rescaled to the sum of magnitudes that the tensor had, not by 1/density, as in mergekit.
    """

    version: ClassVar[str] = "2"

    rescale: bool = Field(default=True, description=RESCALE)

    def uses_seed(self) -> bool:
        return True

    def choose(self, deltas: Numbers, models: Sequence[int], densities: Sequence[float], at: TensorPlace) -> list[Kept]:
        from compat_spec.nn.sparsify import keep_at_random

        return [keep_at_random(density, at, model) for model, density in zip(models, densities, strict=True)]
