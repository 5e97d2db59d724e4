"""The `sce` merge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from compat_plugins.merges.task_vectors import BaseModelName
from compat_spec.components import TensorMerge
from compat_spec.nn.per_tensor import PerTensor, TensorPlace
from compat_spec.nn.pieces import TensorPieces

if TYPE_CHECKING:
    from torch import Tensor

    from compat_spec.nn.selection import Cut

_NOTHING = 1e-6
"""The models count the same when their mean squares add up to less, and no sum is divided by less, as in mergekit."""


class Sce(TensorMerge):
    """Selects the entries in which models vary most, weighs models by their squared differences, erases minor signs.

    Wan et al., "FuseChat: Knowledge Fusion of Chat Models", 2024, arXiv:2408.07990 (SCE). The differences are those
    from the base; an entry counts where its sign is that of the sum over the models. Models whose mean squared
    differences in a tensor add up to less than 1e-6 count the same, as in mergekit.
    """

    unit = "entry"

    base: BaseModelName
    select_topk: PerTensor[Annotated[float, Field(gt=0, le=1)]] = Field(
        default=1.0,
        description="The share of the entries to select, out of those in which the models differ; 1 is all there are.",
    )

    def survey(self, pieces: TensorPieces, *, at: TensorPlace) -> Survey:
        from compat_spec.nn.selection import Numbers, largest

        selected = None
        share = at.value(self.select_topk)
        if share < 1:
            variances = Numbers(pieces, lambda piece: [_variance(piece.tensors)])
            varying = sum(int(variance.count_nonzero()) for _, (variance,) in variances)
            ((selected,),) = largest(variances, [[int(varying * share)]])
        squares = []
        for piece in pieces:
            assert piece.base is not None
            deltas = _deltas(piece.tensors, piece.base, selected, piece.start)
            squares.append([float(delta.square_().sum()) for delta in deltas])
        means = [math.fsum(of_model) / pieces.size for of_model in zip(*squares, strict=True)]
        enough = sum(means) >= _NOTHING
        return Survey(selected, [mean / sum(means) if enough else 1 / len(means) for mean in means])

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        import torch

        from compat_spec.nn.masks import above, keep_

        assert base is not None
        found: Survey = at.surveyed
        deltas = _deltas(tensors, base, found.selected, at.start)
        total = sum(deltas[1:], start=deltas[0])
        sign = torch.lt(total, 0, out=torch.empty_like(total)).mul_(-2).add_(1)
        merged, divisor = torch.zeros_like(base), torch.zeros_like(base)
        for delta, weight in zip(deltas, found.weights, strict=True):
            along = delta * sign
            merged.add_(keep_(delta, above(along, 0)), alpha=weight)
            divisor.add_(torch.gt(along, 0, out=along), alpha=weight)
        return merged.div_(divisor.clamp_(min=_NOTHING)).add_(base)


@dataclass(frozen=True)
class Survey:
    """What is known of a tensor: which entries are selected, by variance (None is all), and the models' weights."""

    selected: Cut | None
    weights: Sequence[float]


def _deltas(tensors: Sequence[Tensor], base: Tensor, selected: Cut | None, start: int) -> list[Tensor]:
    """The task vectors, zero where an entry is not selected."""
    from compat_spec.nn.masks import keep_
    from compat_spec.nn.task_vectors import task_vector

    deltas = [task_vector(tensor, base) for tensor in tensors]
    if selected is None:
        return deltas
    mask = selected.above(_variance(tensors), start)
    return [keep_(delta, mask) for delta in deltas]


def _variance(tensors: Sequence[Tensor]) -> Tensor:
    """Of each entry over the models; what is not a number counts as infinite."""
    from compat_spec.nn.sparsify import magnitudes
    from compat_spec.nn.task_vectors import task_vector

    # from differences to the first model, so that the variance of equal entries is exactly zero
    apart = [task_vector(tensor, tensors[0]) for tensor in tensors]
    mean = sum(apart[1:], start=apart[0]) / len(apart)
    squares = [offset.sub_(mean).square_() for offset in apart]
    return magnitudes(sum(squares[1:], start=squares[0]) / len(squares))
