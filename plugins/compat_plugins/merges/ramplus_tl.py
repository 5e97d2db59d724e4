"""The `ramplus_tl` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, FiniteFloat

from compat_plugins.merges.ram import EPSILON
from compat_plugins.merges.task_vectors import BaseModelName
from compat_spec.components import TensorMerge
from compat_spec.nn.per_tensor import PerTensor, TensorPlace
from compat_spec.nn.pieces import TensorPieces

if TYPE_CHECKING:
    from torch import Tensor

_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class RamPlusTl(TensorMerge):
    """Like `ram`, and enlarges what a model alone has changed, the more of its changes it shares with others.

    By 1 + r · min(shared / unshared, alpha), where the model's changes are counted within each tensor. Yuan et al.,
    "Behavior Knowledge Merge in Reinforced Agentic Models", 2026, arXiv:2601.13572 (RAM+, tensor-local).
    """

    unit = "entry"

    base: BaseModelName
    r: PerTensor[FiniteFloat] = Field(default=0.1, description="How strongly it is enlarged.")
    alpha: PerTensor[_NotNegative] = Field(default=0.2, description="The largest ratio of shared to unshared changes.")
    epsilon: PerTensor[_NotNegative] = Field(default=1e-5, description=EPSILON)

    def survey(self, pieces: TensorPieces, *, at: TensorPlace) -> Sequence[float]:
        """How much larger each model's own changes become."""
        shared, alone = [0] * len(self.models), [0] * len(self.models)
        for piece in pieces:
            _, changed, count = self._changes(piece.tensors, piece.base, at)
            for model, of_model in enumerate(changed):
                shared[model] += int((of_model & (count > 1)).count_nonzero())
                alone[model] += int((of_model & (count == 1)).count_nonzero())
        ratios = [a / max(b, 1) for a, b in zip(shared, alone, strict=True)]  # with none alone, nothing is enlarged
        return [1 + at.value(self.r) * min(ratio, at.value(self.alpha)) for ratio in ratios]

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        import torch

        assert base is not None
        deltas, _, count = self._changes(tensors, base, at)
        larger = base.new_tensor(at.surveyed)[:, None]
        deltas *= torch.where(count == 1, larger, count.clamp(min=1).to(base).reciprocal())
        return deltas.sum(0).add_(base)

    def _changes(self, tensors: Sequence[Tensor], base: Tensor | None, at: TensorPlace) -> Sequence[Tensor]:
        """`[models, entries]`: the differences, and which are changes; and how many models changed each entry."""
        import torch

        from compat_spec.nn.task_vectors import task_vector

        assert base is not None
        deltas = torch.stack([task_vector(tensor, base) for tensor in tensors])
        changed = ~(deltas.abs() <= at.value(self.epsilon))
        return deltas.masked_fill_(~changed, 0), changed, changed.sum(0)
