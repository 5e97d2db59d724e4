"""In which precision tensors are merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compat_spec.errors import CompatError

if TYPE_CHECKING:
    from torch import Tensor, dtype


def working_dtype(tensors: Sequence[Tensor]) -> dtype:
    """float32, or float64 when one of the tensors is."""
    import torch

    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def are_numbers(tensors: Sequence[Tensor], name: str) -> bool:
    """Whether tensors can be averaged. Others (masks, counters) are kept as they are, and must be equal."""
    import torch

    if all(tensor.is_floating_point() for tensor in tensors):
        return True
    first, *others = tensors
    if any(other.dtype != first.dtype or not torch.equal(other, first) for other in others):
        kind = str(first.dtype).removeprefix("torch.")
        raise CompatError(f"{name} ({kind}) cannot be averaged, and it is not the same in all models")
    return False
