"""The `della_linear` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator

from compat_plugins.merges.task_vectors import RESCALE, SparseTaskVectorMerge
from compat_spec.errors import CompatError
from compat_spec.nn.per_tensor import PerModel, TensorPlace

if TYPE_CHECKING:
    from compat_spec.nn.selection import Numbers
    from compat_spec.nn.sparsify import Kept


class DellaLinear(SparseTaskVectorMerge):
    """Adds the models' differences from their base to it, after dropping entries at random, small ones more often.

    An entry is kept with a probability from density - epsilon, for the smallest of its row, to density + epsilon, for
    the largest. Deep, Bhardwaj and Poria, "DELLA-Merging: Reducing Interference in Model Merging through
    Magnitude-Based Sampling", 2024, arXiv:2406.11617. Rescaled to the sum of magnitudes that the tensor had, not by
    1/probability, as in mergekit.
    """

    version: ClassVar[str] = "2"
    unit = "row"

    epsilon: PerModel[Annotated[float, Field(ge=0, lt=0.5)]] = Field(
        default=0.15,
        description="How far the probability goes below and above `density`, for which there must be room.",
    )
    rescale: bool = Field(default=True, description=RESCALE)

    @model_validator(mode="after")
    def _probabilities_fit(self) -> DellaLinear:
        count = len(self.models)
        densities = self.density if isinstance(self.density, tuple) else (self.density,) * count
        epsilons = self.epsilon if isinstance(self.epsilon, tuple) else (self.epsilon,) * count
        for density, epsilon in zip(densities, epsilons, strict=False):
            if isinstance(density, int | float) and isinstance(epsilon, int | float) and not _fits(density, epsilon):
                raise ValueError(_advice(density, epsilon))
        return self

    def uses_seed(self) -> bool:
        return True

    def choose(self, deltas: Numbers, models: Sequence[int], densities: Sequence[float], at: TensorPlace) -> list[Kept]:
        from compat_spec.nn.sparsify import keep_by_rank

        epsilons = at.values(self.epsilon, len(self.models))
        for model, density in zip(models, densities, strict=True):
            if not _fits(density, epsilons[model]):
                raise CompatError(f"{at.name}: {_advice(density, epsilons[model])}")
        return [
            keep_by_rank(density, epsilons[model], at, model) for model, density in zip(models, densities, strict=True)
        ]


def _fits(density: float, epsilon: float) -> bool:
    return density == 1 or 0 < density - epsilon <= density + epsilon < 1


def _advice(density: float, epsilon: float) -> str:
    return (
        f"density {density:g} and epsilon {epsilon:g} give probabilities from {density - epsilon:g} to "
        f"{density + epsilon:g}; they must lie between 0 and 1: epsilon must be below {min(density, 1 - density):g}"
    )
