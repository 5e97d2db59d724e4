"""Tensors to merge, and the one call that merges them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compat_spec.components import TensorMerge
from compat_spec.nn.merging import merge_tensor
from compat_spec.nn.per_tensor import TensorPlace

SHAPES = [(), (1,), (13,), (5, 3), (3, 1), (2, 3, 5), (0,), (4, 0)]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 1e-2}
"""Of results against an oracle in float64, for entries of about 1."""


def some(shape: Sequence[int] = (5, 3), seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float64).to(dtype)


def tuned(
    count: int, shape: Sequence[int] = (5, 3), dtype: torch.dtype = torch.float64, scale: float = 0.3
) -> tuple[list[Tensor], Tensor]:
    """The tensors of some models, and that of their base. They differ from it partly in the same way."""
    base, shared = some(shape, 100), some(shape, 101)
    models = [base + scale * (some(shape, seed) + 0.3 * shared) for seed in range(count)]
    return [model.to(dtype) for model in models], base.to(dtype)


def merged(
    cls: type[TensorMerge],
    tensors: Sequence[Tensor],
    base: Tensor | None = None,
    *,
    at: TensorPlace | None = None,
    **parameters: object,
) -> Tensor:
    """What a merge with these parameters makes of one tensor, having checked that it leaves its inputs alone."""
    named: dict[str, object] = {"models": [f"m{i}" for i in range(len(tensors))]}
    if base is not None:
        named["base"] = "base"
    merge = cls.model_validate(named | parameters)
    given = [*tensors, *([] if base is None else [base])]
    before = [tensor.clone() for tensor in given]
    result = merge_tensor(merge, tensors, base, at or TensorPlace("h.0.weight"))
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(given, before, strict=True))
    assert result.dtype == tensors[0].dtype
    assert all(result.data_ptr() != tensor.data_ptr() or result.numel() == 0 for tensor in given)
    return result


def close(result: Tensor, expected: Tensor) -> None:
    """Check a result against one that was computed in float64."""
    tolerance = TOLERANCE[result.dtype]
    torch.testing.assert_close(result.double(), expected.double(), atol=tolerance, rtol=tolerance)
