"""The `nuslerp` merge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field, FiniteFloat

from compat_spec.components import ModelName, TensorMerge
from compat_spec.nn.per_tensor import PerModel, TensorPlace
from compat_spec.nn.pieces import TensorPieces

if TYPE_CHECKING:
    from torch import Tensor

_NOTHING = 1e-6
"""A sum of weights below this counts as zero, and the models count the same, as in mergekit."""

_TINY = 1e-7
"""A norm counts as no less."""


class Nuslerp(TensorMerge):
    """Spherical interpolation of two models by weights, of whole tensors or row by row, from a base if there is one.

    Shoemake, "Animating rotation with quaternion curves", 1985, with the parameters of mergekit's `nuslerp`. With a
    base, the differences from it are interpolated.
    """

    unit = "row"

    models: tuple[ModelName, ...] = Field(min_length=2, max_length=2, description="The two models to combine.")
    base: ModelName | None = Field(default=None, description="The model that the others were fine-tuned from.")
    weight: PerModel[FiniteFloat] = Field(
        default=1.0,
        description="How much each model counts; divided by their sum, or equal where that is zero.",
        examples=[[0.6, 0.4]],
    )
    nuslerp_flatten: bool = Field(default=True, description="Take each tensor as one vector.")
    nuslerp_row_wise: bool = Field(
        default=False,
        description="Without nuslerp_flatten: take the vectors along the first dimension instead of the last.",
    )

    def survey(self, pieces: TensorPieces, *, at: TensorPlace) -> Tensor | None:
        """The cosines that take more than a row to find: one of the whole tensors, or one for each column, in order."""
        import torch

        from compat_spec.nn.sphere import inner_products

        if self.nuslerp_flatten or len(at.shape) < 2:
            products = inner_products(pieces)
            return _cosine(products[0, 1], products.diagonal())
        if not self.nuslerp_row_wise:
            return None
        sums: Tensor | None = None
        for piece in pieces:
            a, b = self._vectors(piece.tensors, piece.base)
            columns = _columns(a, at.shape, piece.start)
            products = torch.stack([a * b, a.square(), b.square()]).double()
            sums = products.new_zeros(3, math.prod(at.shape[1:])) if sums is None else sums
            sums.index_add_(1, columns, products.flatten(1))
        assert sums is not None
        return _cosine(sums[0], sums[1:])

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        from compat_spec.nn.sphere import arc
        from compat_spec.nn.task_vectors import task_vector

        a, b = tensors if base is None else (task_vector(tensor, base) for tensor in tensors)
        of_a, of_b = at.values(self.weight, 2)
        t = 0.5 if abs(of_a + of_b) < _NOTHING else of_b / (of_a + of_b)
        share_a, share_b = arc(self._cosines(tensors, base, at), t)
        # as one of them plus a share of the difference, so that equal tensors, and a single weight, come out exactly
        whole = (share_a + share_b).to(a)
        near, far, share = (a, b, share_b) if t < 0.5 else (b, a, share_a)
        merged = task_vector(far, near).mul_(share.to(a)).add_(near * whole)
        return merged if base is None else merged.add_(base)

    def _cosines(self, tensors: Sequence[Tensor], base: Tensor | None, at: TensorPlace) -> Tensor:
        """float64, in a shape that spreads to that of the rows at hand."""
        import torch

        surveyed: Tensor | None = at.surveyed
        if surveyed is None:
            a, b = self._vectors(tensors, base)
            squares = torch.stack([one.square().sum(-1, keepdim=True, dtype=torch.float64) for one in (a, b)])
            return _cosine((a * b).sum(-1, keepdim=True, dtype=torch.float64), squares)
        if surveyed.dim() == 0:
            return surveyed.to(tensors[0].device)
        return surveyed[_columns(tensors[0], at.shape, at.start)].view(tensors[0].shape)

    def _vectors(self, tensors: Sequence[Tensor], base: Tensor | None) -> list[Tensor]:
        from compat_spec.nn.sphere import finite
        from compat_spec.nn.task_vectors import task_vector

        return [finite(tensor if base is None else task_vector(tensor, base)) for tensor in tensors]


def _cosine(product: Tensor, squares: Tensor) -> Tensor:
    norm_a, norm_b = squares.sqrt().clamp(min=_TINY)
    cosine: Tensor = product / (norm_a * norm_b)
    return cosine


def _columns(rows: Tensor, shape: Sequence[int], start: int) -> Tensor:
    """For each entry of a piece, which of the vectors along the first dimension of the whole tensor it belongs to."""
    import torch

    return torch.arange(start, start + rows.numel(), device=rows.device) % math.prod(shape[1:])
