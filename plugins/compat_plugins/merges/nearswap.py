"""The `nearswap` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from compat_spec.components import ModelName, TensorMerge
from compat_spec.nn.per_tensor import PerTensor, TensorPlace

if TYPE_CHECKING:
    from torch import Tensor

_CLOSEST = 1e-6
"""Smaller differences count as this, as in mergekit."""


class Nearswap(TensorMerge):
    """Moves the base towards a model by at most t in each entry, so that it takes over what is near.

    alchemonaut, "QuartetAnemoi-70B-t0.0001", 2024, https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001.
    """

    unit = "entry"

    models: tuple[ModelName, ...] = Field(min_length=1, max_length=1, description="The model to move towards.")
    base: ModelName = Field(description="The model that is moved.")
    t: PerTensor[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        description="How far an entry moves at most.", examples=[0.0001]
    )

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        from compat_spec.nn.task_vectors import task_vector

        assert base is not None
        delta = task_vector(tensors[0], base)
        share = delta.abs().clamp_(min=_CLOSEST).reciprocal_().mul_(at.value(self.t)).clamp_(max=1)
        # where an entry moves all the way, base + (model - base) would be the model but for rounding
        return tensors[0].where(share == 1, delta.mul_(share).add_(base))
