"""What the metrics that compare features have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from compat_spec.components import PairMetric
from compat_spec.errors import CompatError

if TYPE_CHECKING:
    from torch import Tensor


class SimilarityMeasure(PairMetric):
    """A measure of `compat_spec.nn.similarity` on the features of two networks."""

    measure: ClassVar[str]
    """Its name there."""

    def options(self) -> Mapping[str, Any]:
        """What else `similarity` is given."""
        return {}

    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        from compat_spec.nn.similarity import similarity

        if len(a[0]) < 4:
            raise CompatError(f"{self.measure} needs at least 4 tokens, and the split has {len(a[0])}")
        try:
            return similarity(self.measure, a, b, **self.options())
        except ValueError as error:
            raise CompatError(str(error)) from None
