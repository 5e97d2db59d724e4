"""The `sce` merge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from compat_plugins.merges.task_vectors import BaseModelName
from compat_spec.components import TensorMerge
from compat_spec.nn.per_tensor import PerTensor, TensorPlace

if TYPE_CHECKING:
    from torch import Tensor

_NOTHING = 1e-6
"""The models count the same when their mean squares add up to less, and no sum is divided by less, as in mergekit."""


class Sce(TensorMerge):
    """Selects the entries in which models vary most, weighs models by their squared differences, erases minor signs.

    Wan et al., "FuseChat: Knowledge Fusion of Chat Models", 2024, arXiv:2408.07990 (SCE). The differences are those
    from the base; an entry counts where its sign is that of the sum over the models. Models whose mean squared
    differences in a tensor add up to less than 1e-6 count the same, as in mergekit.
    """

    base: BaseModelName
    select_topk: PerTensor[Annotated[float, Field(gt=0, le=1)]] = Field(
        default=1.0,
        description="The share of the entries to select, out of those in which the models differ; 1 is all there are.",
    )

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        import torch

        from compat_spec.nn.pieces import pieces
        from compat_spec.nn.task_vectors import task_vector

        assert base is not None
        flat, origin = [tensor.reshape(-1) for tensor in tensors], base.reshape(-1)
        selected = _most_varied(flat, at.value(self.select_topk))

        def deltas(piece: slice) -> Tensor:
            """`[models, entries]`"""
            found = torch.stack([task_vector(one[piece], origin[piece]) for one in flat])
            return found if selected is None else found.masked_fill_(~selected[piece], 0)

        squares = [[float(delta.square().sum()) for delta in deltas(piece)] for piece in pieces(origin)]
        means = [math.fsum(of_model) / origin.numel() for of_model in zip(*squares, strict=True)]
        enough = sum(means) >= _NOTHING
        shares = [mean / sum(means) if enough else 1 / len(flat) for mean in means or flat]
        weights = base.new_tensor(shares)[:, None]

        merged = origin.clone()
        for piece in pieces(origin):
            found = deltas(piece)
            elected = found.sign() == torch.where(found.sum(0) >= 0, 1, -1)
            divisor = (weights * elected).sum(0).clamp(min=_NOTHING)
            merged[piece] += found.masked_fill_(~elected, 0).mul_(weights).sum(0) / divisor
        return merged.view(base.shape)


def _most_varied(flat: Sequence[Tensor], share: float) -> Tensor | None:
    """The mask of the share of those entries that vary over the models which vary most; None is all entries."""
    import torch

    from compat_spec.nn.order import largest
    from compat_spec.nn.pieces import pieces
    from compat_spec.nn.task_vectors import task_vector

    if share == 1:
        return None
    variance = torch.empty_like(flat[0])
    for piece in pieces(variance):
        # from differences to the first model, so that the variance of equal entries is exactly zero
        apart = torch.stack([task_vector(one[piece], flat[0][piece]) for one in flat])
        torch.var(apart, dim=0, correction=0, out=variance[piece])
    (mask,) = largest(variance, [int(int(variance.count_nonzero()) * share)])
    return mask
