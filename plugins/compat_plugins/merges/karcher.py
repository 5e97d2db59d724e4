"""The `karcher` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from compat_spec.components import TensorMerge
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.nn.pieces import TensorPieces

if TYPE_CHECKING:
    from torch import Tensor


class Karcher(TensorMerge):
    """The mean direction of the models' tensors on the sphere (Karcher mean), times the mean of their norms.

    Wang, Ye and Yin, "Functionality-Oriented LLM Merging on the Fisher-Rao Manifold", 2026, arXiv:2603.04972.
    """

    unit = "entry"

    max_iter: int = Field(default=10, ge=1, description="How many steps of the iteration at most.")
    tol: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=1e-5,
        description="The length of a step that is the last, in radians; tensors of no more than this norm count as "
        "having no direction.",
    )

    def survey(self, pieces: TensorPieces, *, at: TensorPlace) -> Sequence[float]:
        """How much the result has of each tensor."""
        from compat_spec.nn.sphere import inner_products, mean_direction

        products = inner_products(pieces)
        length = float(products.diagonal().sqrt().mean())
        return [length * part for part in mean_direction(products, self.max_iter, self.tol)]

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        from compat_spec.nn.sphere import combination

        return tensors[0].clone() if len(tensors) == 1 else combination(tensors, at.surveyed)
