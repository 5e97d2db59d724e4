"""What the merges that add task vectors to a base share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, FiniteFloat

from compat_spec.components import ModelName, TensorMerge
from compat_spec.nn.per_tensor import PerModel, PerTensor, TensorPlace
from compat_spec.nn.pieces import TensorPieces, Unit

if TYPE_CHECKING:
    from torch import Tensor

    from compat_spec.nn.selection import Numbers
    from compat_spec.nn.sparsify import Kept

NORMALIZE = "Divide the sum by that of the weights."
NORMALIZE_ELECTED = "Divide each entry of the sum by that of the weights of the models that take part in it."
RESCALE = "Make what is left of a model's differences as large as they were, by the sum of magnitudes."

BaseModelName = Annotated[ModelName, Field(description="The model that the others were fine-tuned from.")]


class TaskVectorMerge(TensorMerge):
    """base + lambda · (sum of weight · (model - base)), where subclasses say which entries of the differences count."""

    unit: ClassVar[Unit] = "entry"
    elected: ClassVar[bool] = False
    """Whether only those entries are added whose sign is that of the sum."""

    base: BaseModelName
    weight: PerModel[FiniteFloat] = Field(
        default=1.0,
        description="How much the differences of each model from the base count: one number for all, or one per model.",
        examples=[[0.6, 0.4]],
    )
    normalize: bool = Field(default=False, description=NORMALIZE)
    lambda_: PerTensor[FiniteFloat] = Field(
        default=1.0, alias="lambda", description="What the sum is multiplied with before it is added to the base."
    )

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        from compat_spec.nn.task_vectors import ElectedSum, WeightedSum, task_vector

        assert base is not None
        total = (ElectedSum if self.elected else WeightedSum)(base, self.normalize)
        for model, weight in enumerate(at.values(self.weight, len(tensors))):
            if weight != 0:
                delta = task_vector(tensors[model], base)
                if at.surveyed and model in at.surveyed:
                    at.surveyed[model].thin_out_(delta, at.start)
                total.add(delta, weight)
        return total.result().mul_(at.value(self.lambda_)).add_(base)


@dataclass(frozen=True)
class Thinned:
    """What counts of a model's task vector, and how much larger it becomes for what does not."""

    kept: Kept
    factor: float = 1.0

    def thin_out_(self, delta: Tensor, start: int) -> None:
        from compat_spec.nn.masks import keep_

        keep_(delta, self.kept(delta, start))
        if self.factor != 1:
            delta.mul_(self.factor)


class SparseTaskVectorMerge(TaskVectorMerge):
    """The same with a share of the entries of each difference only."""

    density: PerModel[Annotated[float, Field(gt=0, le=1)]] = Field(
        default=1.0,
        description="The share of a model's differences that is kept: one number for all, or one per model.",
        examples=[[0.5, 0.7]],
    )
    rescale: bool = Field(default=False, description=RESCALE)

    def survey(self, pieces: TensorPieces, *, at: TensorPlace) -> Mapping[int, Thinned]:
        """For each model, by index, of which not everything counts."""
        from compat_spec.nn.sparsify import rescalings
        from compat_spec.nn.task_vectors import task_vectors

        count = len(self.models)
        densities, weights = at.values(self.density, count), at.values(self.weight, count)
        models = [model for model in range(count) if densities[model] != 1 and weights[model] != 0]
        if not models:
            return {}
        deltas = task_vectors(pieces, models)
        kept = self.choose(deltas, models, [densities[model] for model in models], at)
        factors = rescalings(deltas, kept) if self.rescale else [1.0] * len(models)
        return dict(zip(models, map(Thinned, kept, factors), strict=True))

    @abstractmethod
    def choose(self, deltas: Numbers, models: Sequence[int], densities: Sequence[float], at: TensorPlace) -> list[Kept]:
        """Which entries of each task vector count: a share, less than 1, of those of each of these models."""
