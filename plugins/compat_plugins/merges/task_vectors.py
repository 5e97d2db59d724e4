"""What the merges that add task vectors to a base share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, FiniteFloat

from compat_spec.components import ModelName, TensorMerge
from compat_spec.nn.per_tensor import PerModel, PerTensor, TensorPlace

if TYPE_CHECKING:
    from torch import Tensor

NORMALIZE = "Divide the sum by that of the weights."
NORMALIZE_ELECTED = "Divide each entry of the sum by that of the weights of the models that take part in it."
RESCALE = "Make what is left of a model's differences as large as they were, by the sum of magnitudes."

BaseModelName = Annotated[ModelName, Field(description="The model that the others were fine-tuned from.")]


class TaskVectorMerge(TensorMerge):
    """base + lambda · (sum of weight · (model - base)), where subclasses say which entries of the differences count."""

    elementwise: ClassVar[bool] = True
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
                if at.surveyed:
                    _thin_out(delta, at.surveyed[model])
                total.add(delta, weight)
        return total.result().mul_(at.value(self.lambda_)).add_(base)


def _thin_out(delta: Tensor, surveyed: Mapping[str, Tensor]) -> None:
    """Set the entries to zero that do not count, in place, and make the others larger for them."""
    if "kept" in surveyed:
        delta.masked_fill_(surveyed["kept"].logical_not(), 0)
    if "factor" in surveyed:
        delta.mul_(float(surveyed["factor"]))


class SparseTaskVectorMerge(TaskVectorMerge):
    """The same with a share of the entries of each difference only."""

    surveys: ClassVar[bool] = True

    density: PerModel[Annotated[float, Field(gt=0, le=1)]] = Field(
        default=1.0,
        description="The share of a model's differences that is kept: one number for all, or one per model.",
        examples=[[0.5, 0.7]],
    )
    rescale: bool = Field(default=False, description=RESCALE)

    def survey(self, tensor: Tensor, base: Tensor | None, *, model: int, at: TensorPlace) -> Mapping[str, Tensor]:
        import torch

        from compat_spec.nn.sparsify import rescaling, size_of
        from compat_spec.nn.task_vectors import task_vector

        assert base is not None
        density, weight = (at.values(setting, len(self.models))[model] for setting in (self.density, self.weight))
        if density == 1 or weight == 0 or base.numel() == 0:
            return {}
        delta = task_vector(tensor, base).contiguous()
        size = size_of(delta) if self.rescale else 0.0
        self.keep(delta, density, model, at)
        found = {"kept": delta != 0}
        if self.rescale:
            found["factor"] = delta.new_tensor(rescaling(delta, size), dtype=torch.float64)
        return found

    @abstractmethod
    def keep(self, delta: Tensor, density: float, model: int, at: TensorPlace) -> None:
        """Set all entries but a share `density`, which is less than 1, to zero, in place."""
