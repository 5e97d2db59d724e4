"""The `ram` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from compat_plugins.merges.task_vectors import BaseModelName
from compat_spec.components import TensorMerge
from compat_spec.nn.per_tensor import PerTensor, TensorPlace

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = "A model has changed an entry when it differs from the base by more than this."


class Ram(TensorMerge):
    """Adds to each entry of a base the mean difference of those models that have changed it.

    What one model alone has changed is thus kept whole. Yuan et al., "Behavior Knowledge Merge in Reinforced Agentic
    Models", 2026, arXiv:2601.13572 (RAM).
    """

    unit = "entry"

    base: BaseModelName
    epsilon: PerTensor[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default=1e-5, description=EPSILON)

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        import torch

        assert base is not None
        total, count = torch.zeros_like(base), torch.zeros_like(base, dtype=torch.int32)
        for delta, changed in changes(tensors, base, at.value(self.epsilon)):
            total += delta
            count += changed.to(count)
        return total.div_(count.clamp_(min=1)).add_(base)


def changes(tensors: Sequence[Tensor], base: Tensor, epsilon: float) -> list[tuple[Tensor, Tensor]]:
    """Of each model the task vector, zero where it changes nothing, and where it changes something, bool."""
    from compat_spec.nn.masks import at_most, keep_
    from compat_spec.nn.task_vectors import task_vector

    found = []
    for tensor in tensors:
        delta = task_vector(tensor, base)
        changed = at_most(delta.abs(), epsilon).logical_not_()  # what is not a number is no small change
        found.append((keep_(delta, changed), changed))
    return found
