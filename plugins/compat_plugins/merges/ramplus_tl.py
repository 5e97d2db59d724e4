"""The `ramplus_tl` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, FiniteFloat

from compat_plugins.merges.ram import EPSILON, changes
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
        from compat_spec.nn.masks import count

        changed_by, alone = [0] * len(self.models), [0] * len(self.models)
        for piece in pieces:
            assert piece.base is not None
            masks = [changed for _, changed in changes(piece.tensors, piece.base, at.value(self.epsilon))]
            single = _single(masks)
            for model, mask in enumerate(masks):
                changed_by[model] += count(mask)
                alone[model] += count(mask & single)
        # with none alone, nothing is enlarged
        ratios = [(all_ - own) / max(own, 1) for all_, own in zip(changed_by, alone, strict=True)]
        return [1 + at.value(self.r) * min(ratio, at.value(self.alpha)) for ratio in ratios]

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        import torch

        from compat_spec.nn.masks import select

        assert base is not None
        found = changes(tensors, base, at.value(self.epsilon))
        single = _single([changed for _, changed in found])
        total, alone = torch.zeros_like(base), torch.zeros_like(base)
        number = torch.zeros_like(base, dtype=torch.int32)
        for (delta, changed), larger in zip(found, at.surveyed, strict=True):
            total += delta
            alone.add_(delta, alpha=larger)  # read only where this model is the single one
            number += changed.to(number)
        return select(single, alone, total.div_(number.clamp_(min=1))).add_(base)


def _single(changed: Sequence[Tensor]) -> Tensor:
    """Where exactly one model has changed something."""
    import torch

    one, more = torch.zeros_like(changed[0]), torch.zeros_like(changed[0])
    for mask in changed:
        more |= one & mask
        one |= mask
    return one.logical_and_(more.logical_not_())
