"""The `slerp` merge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from compat_spec.components import ModelName, TensorMerge
from compat_spec.nn.per_tensor import PerTensor, TensorPlace
from compat_spec.nn.pieces import TensorPieces

if TYPE_CHECKING:
    from torch import Tensor

_PARALLEL = 0.9995
"""Above this |cosine| the arc is so short, or so undetermined, that a straight line is taken, as in mergekit."""

_TINY = 1e-8
"""Tensors of no more than this norm have no direction."""


class Slerp(TensorMerge):
    """Spherical interpolation of each parameter tensor between two models, as if they lay on a sphere.

    Shoemake, "Animating rotation with quaternion curves", 1985.
    """

    unit = "entry"

    models: tuple[ModelName, ...] = Field(min_length=2, max_length=2, description="The two models to combine.")
    t: PerTensor[Annotated[float, Field(ge=0, le=1)]] = Field(
        default=0.5, description="How far from the first model (0) to the second (1)."
    )

    def survey(self, pieces: TensorPieces, *, at: TensorPlace) -> float:
        """The cosine of the angle between the two tensors, in float64; 0 where one has no direction."""
        ab, aa, bb = 0.0, 0.0, 0.0
        for piece in pieces:
            a, b = (tensor.double() for tensor in piece.tensors)
            ab, aa, bb = ab + float(a @ b), aa + float(a @ a), bb + float(b @ b)
        norms = math.sqrt(aa), math.sqrt(bb)
        return ab / norms[0] / norms[1] if min(norms) > _TINY else 0.0

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        import torch

        a, b = tensors
        t = at.value(self.t)
        cosine: float = at.surveyed
        if abs(cosine) > _PARALLEL:
            return torch.lerp(a, b, t)
        if not math.isfinite(cosine):  # masks hold infinities, which have no angle; where both have the same it stays
            return torch.lerp(a, b, t).where(a != b, a)
        angle = math.acos(cosine)
        # at the ends, one factor is exactly 1 and the other exactly 0
        of_a, of_b = math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
        return a * of_a + b * of_b
