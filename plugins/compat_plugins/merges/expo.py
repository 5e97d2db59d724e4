"""The `expo` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from compat_plugins.merges.task_vectors import BaseModelName
from compat_spec.components import ModelName, TensorMerge
from compat_spec.nn.per_tensor import PerTensor, TensorPlace

if TYPE_CHECKING:
    from torch import Tensor


class Expo(TensorMerge):
    """Extrapolates from a base over a model, further along what its training changed: model + alpha · (model - base).

    Zheng et al., "Model Extrapolation Expedites Alignment", 2024, arXiv:2404.16792.
    """

    unit = "entry"

    models: tuple[ModelName, ...] = Field(min_length=1, max_length=1, description="The model to extrapolate.")
    base: BaseModelName
    alpha: PerTensor[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        description="How far beyond the model, as a multiple of its way from the base; 0 is the model itself.",
        examples=[0.3],
    )

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        from compat_spec.nn.task_vectors import task_vector

        assert base is not None
        return task_vector(tensors[0], base).mul_(at.value(self.alpha)).add_(tensors[0])
