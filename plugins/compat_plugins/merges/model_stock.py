"""The `model_stock` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from compat_plugins.merges.task_vectors import BaseModelName
from compat_spec.components import ModelName, TensorMerge
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.nn.pieces import TensorPieces

if TYPE_CHECKING:
    from torch import Tensor

_TINY = 1e-6
"""Products of norms count as no less, and a denominator below is zero, as in mergekit."""


class ModelStock(TensorMerge):
    """Goes from the base towards the average of the models, further where their differences from the base agree.

    By t = N cos / (1 + (N - 1) cos), for N models and the mean cosine of the angles between their differences.
    Jang, Yun and Han, "Model Stock: All we need is just a few fine-tuned models", 2024, arXiv:2403.19522.
    """

    unit = "row"

    models: tuple[ModelName, ...] = Field(min_length=2, description="The models to combine, two at least.")
    base: BaseModelName
    filter_wise: bool = Field(
        default=False, description="Find the angles within each row of a matrix instead of within the whole tensor."
    )

    def survey(self, pieces: TensorPieces, *, at: TensorPlace) -> Tensor | None:
        """How far to go, where that is the same for the whole tensor: `[1]`."""
        from compat_spec.nn.sphere import inner_products

        return None if self.filter_wise and len(at.shape) > 1 else _shares(inner_products(pieces)[None])

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        from compat_spec.nn.sphere import row_inner_products
        from compat_spec.nn.task_vectors import task_vector

        assert base is not None
        shares = _shares(row_inner_products(tensors, base)) if at.surveyed is None else at.surveyed
        total = task_vector(tensors[0], base)
        for tensor in tensors[1:]:
            total += task_vector(tensor, base)
        return total.mul_((shares / len(tensors)).to(total)[:, None]).add_(base)


def _shares(products: Tensor) -> Tensor:
    """How far to go from the base to the average: inner products `[rows, n, n]` -> `[rows]`, as t above."""
    import torch

    count = products.shape[-1]
    norms = products.diagonal(dim1=1, dim2=2).sqrt()
    cosines = (products / (norms[:, :, None] * norms[:, None, :]).clamp(min=_TINY)).clamp(-1, 1)
    first, second = torch.triu_indices(count, count, offset=1)
    cosine = cosines[:, first, second].mean(1)
    denominator = 1 + (count - 1) * cosine
    # where the differences cancel each other out, nothing can be said, and the base is kept
    return torch.where(denominator.abs() < _TINY, 0, count * cosine / denominator)
