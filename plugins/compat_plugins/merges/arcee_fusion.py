"""The `arcee_fusion` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from compat_spec.components import ModelName, TensorMerge
from compat_spec.nn.per_tensor import TensorPlace

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-8
"""What is added to each probability."""


class ArceeFusion(TensorMerge):
    """Takes over those entries of a model that differ from the base importantly, by the quartiles of the importance.

    The importance of an entry is its difference times the Kullback-Leibler divergence of its row's softmax from that
    of the base. Entries count from the median and one and a half interquartile ranges on. Arcee AI, the method
    `arcee_fusion` of mergekit, 2025, https://github.com/arcee-ai/mergekit. Quartiles are exact for tensors of any size.
    """

    models: tuple[ModelName, ...] = Field(min_length=1, max_length=1, description="The model to take over from.")
    base: ModelName = Field(description="The model whose other entries are kept.")

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        from compat_spec.nn.order import order_statistics

        assert base is not None
        if base.numel() == 0:
            return base.clone()
        importance = _importance(tensors[0], base)
        last = importance.numel() - 1
        first, median, third = order_statistics(
            importance.flatten().clone(), [int(share * last) for share in (0.25, 0.5, 0.75)]
        )
        return tensors[0].where(importance >= median + 1.5 * (third - first), base)


def _importance(tensor: Tensor, base: Tensor) -> Tensor:
    """In float64, row by row: the divergence of rows that hardly differ is small beside what it is a sum of."""
    from compat_spec.nn.pieces import pieces

    width = base.shape[-1] if base.dim() else 1
    found = (tensor - base).abs_().contiguous()  # to be changed in place, row by row
    by_row, rows, base_rows = (one.reshape(-1, width) for one in (found, tensor, base))
    for piece in pieces(base, width):
        of_tensor = rows[piece].double().softmax(-1).add_(_LEAST)
        of_base = base_rows[piece].double().softmax(-1).add_(_LEAST)
        divergence = (of_tensor * (of_tensor / of_base).log()).sum(-1, keepdim=True)
        by_row[piece] = by_row[piece].double() * divergence
    return found.masked_fill_(tensor == base, 0)  # where both are infinite, as masks are, nothing was found
