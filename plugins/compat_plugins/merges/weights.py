"""How much each model of a merge counts."""

from __future__ import annotations

from collections.abc import Sequence

from compat_spec.errors import CompatError
from compat_spec.nn.per_tensor import PerTensor, TensorPlace

_NOTHING = 1e-8
"""A sum of weights below this cannot be divided by."""


def check_sum(weight: PerTensor[float] | Sequence[PerTensor[float]]) -> None:
    """Refuse plain weights that add up to zero, before anything runs. Raises ValueError."""
    plain = list(weight) if isinstance(weight, Sequence) else [weight]
    if all(isinstance(one, int | float) for one in plain) and abs(sum(plain)) < _NOTHING:  # type: ignore[arg-type]
        raise ValueError("the weights add up to zero and cannot be normalized; change them or set normalize: false")


def shares(weights: Sequence[float], at: TensorPlace) -> list[float]:
    """The weights divided by their sum. Raises `CompatError` when that is zero."""
    total = sum(weights)
    if abs(total) < _NOTHING:
        raise CompatError(f"the weights of {at.name} add up to zero and cannot be normalized")
    return [weight / total for weight in weights]
