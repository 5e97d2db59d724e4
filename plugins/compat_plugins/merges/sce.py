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
            squares.append(deltas.square_().sum(1).tolist())
        means = [math.fsum(of_model) / pieces.size for of_model in zip(*squares, strict=True)]
        enough = sum(means) >= _NOTHING
        return Survey(selected, [mean / sum(means) if enough else 1 / len(means) for mean in means])

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        import torch

        assert base is not None
        found: Survey = at.surveyed
        deltas = _deltas(tensors, base, found.selected, at.start)
        weights = base.new_tensor(found.weights)[:, None]
        elected = deltas.sign() == torch.where(deltas.sum(0) >= 0, 1, -1)
        divisor = (weights * elected).sum(0).clamp(min=_NOTHING)
        return deltas.masked_fill_(~elected, 0).mul_(weights).sum(0).div_(divisor).add_(base)


@dataclass(frozen=True)
class Survey:
    """What is known of a tensor: which entries are selected, by variance (None is all), and the models' weights."""

    selected: Cut | None
    weights: Sequence[float]


def _deltas(tensors: Sequence[Tensor], base: Tensor, selected: Cut | None, start: int) -> Tensor:
    """The task vectors `[models, entries]`, zero where an entry is not selected."""
    import torch

    from compat_spec.nn.task_vectors import task_vector

    found = torch.stack([task_vector(tensor, base) for tensor in tensors])
    return found if selected is None else found.masked_fill_(~selected.above(_variance(tensors), start), 0)


def _variance(tensors: Sequence[Tensor]) -> Tensor:
    """Of each entry over the models; what is not a number counts as infinite."""
    import torch

    from compat_spec.nn.sparsify import magnitudes
    from compat_spec.nn.task_vectors import task_vector

    # from differences to the first model, so that the variance of equal entries is exactly zero
    apart = torch.stack([task_vector(tensor, tensors[0]) for tensor in tensors])
    return magnitudes(apart.var(0, correction=0))
