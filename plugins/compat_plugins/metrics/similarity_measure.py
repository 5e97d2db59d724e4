"""What the metrics that compare features have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field

from compat_spec.components import Comparison, LayerScores, PairMetric
from compat_spec.errors import CompatError

if TYPE_CHECKING:
    from torch import Tensor


_MOST_BYTES = 2 * 2**30
"""Features of more than this are not held, where their second moments do and take less."""


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

    def measure(self, comparison: Comparison) -> LayerScores:
        if not self._streams(comparison):
            return super().measure(comparison)
        from compat_spec.nn.similarity import Accumulator

        with _told_plainly():
            accumulator = Accumulator(self.quantity, **self.options())
            for a, b in comparison.feature_batches(self.split, **self.taken()):
                accumulator.update(a, b)
            return LayerScores(accumulator.compute(), n=accumulator.tokens, first=self.first_layer)

    def _streams(self, comparison: Comparison) -> bool:
        """Whether features are counted as they are read: in batches anyway, or more than should be held."""
        from compat_spec.nn.similarity import Accumulator

        options = self.options()
        if self.standard_error:
            return False
        if options.get("batch_size") is not None:
            return True
        if self.quantity not in ("cka", "procrustes") or options.get("kernel", "linear") != "linear":
            return False
        widths = [[network.anatomy.width] * len(network.anatomy) for network in (comparison.a, comparison.b)]
        features = 4 * self.tokens * sum(map(sum, widths))
        return features > max(_MOST_BYTES, Accumulator.bytes_for(*widths))

    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        from compat_spec.nn.similarity import similarity

        with _told_plainly():
            return similarity(self.quantity, a, b, **self.options())

    def errors(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor | None:
        from compat_spec.nn.similarity import standard_error

        if not self.standard_error:
            return None
        with _told_plainly("standard_error: "):
            return standard_error(self.quantity, a, b, groups=self.groups, **self.options())


@contextmanager
def _told_plainly(about: str = "") -> Iterator[None]:
    """What features and options do not go together with is a mistake of the spec, and no fault of the program."""
    try:
        yield
    except ValueError as error:
        raise CompatError(f"{about}{error}") from None
