"""What the metrics that compare features have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from compat_spec.components import PairMetric
from compat_spec.errors import CompatError

if TYPE_CHECKING:
    from torch import Tensor


class SimilarityMeasure(PairMetric):
    """A measure of `compat_spec.nn.similarity` on the features of two networks; its name there is the `quantity`."""

    standard_error: bool = Field(
        default=False,
        description="Also how far each number may be off by the choice of tokens: the jackknife over groups of them.",
    )
    groups: int = Field(
        default=20, ge=2, description="How many groups of neighbouring tokens the jackknife leaves out."
    )

    def options(self) -> Mapping[str, Any]:
        """What else `similarity` is given."""
        return {}

    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        from compat_spec.nn.similarity import similarity

        try:
            return similarity(self.quantity, a, b, **self.options())
        except ValueError as error:
            raise CompatError(str(error)) from None

    def errors(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor | None:
        from compat_spec.nn.similarity import standard_error

        if not self.standard_error:
            return None
        try:
            return standard_error(self.quantity, a, b, groups=self.groups, **self.options())
        except ValueError as error:
            raise CompatError(f"standard_error: {error}") from None
