"""The differences of models from their base, for merges that cannot do with any that is not finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compat_spec.errors import CompatError

if TYPE_CHECKING:
    from torch import Tensor


def finite_deltas(tensors: Sequence[Tensor], base: Tensor, models: Sequence[str], name: str) -> list[Tensor]:
    """Each tensor less the base's, 0 where both are the same infinity.

    Raises `CompatError`, naming tensor and model, when an entry is not finite.
    """
    deltas = [(tensor - base).masked_fill(tensor == base, 0) for tensor in tensors]
    for model, delta in zip(models, deltas, strict=True):
        if not bool(delta.isfinite().all()):
            raise CompatError(f"{name} of {model} less that of its base is not finite")
    return deltas


def plus_mean_delta(base: Tensor, tensors: Sequence[Tensor], factor: float) -> Tensor:
    """The base plus so many times the mean of how the tensors differ from it; equal entries stay as they are."""
    from compat_spec.nn.averages import mean

    average = mean(tensors)
    # infinities, as masks hold, have no difference
    return base.where(average == base, base + factor * (average - base))
