"""The `svcca` metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from compat_plugins.metrics.similarity_measure import SimilarityMeasure


class SVCCA(SimilarityMeasure):
    """The mean canonical correlation of the principal components of the features of two networks.

    Raghu et al., "SVCCA", 2017, arXiv:1706.05806. Have several times as many tokens as components: fewer always
    correlate.
    """

    quantity: ClassVar[str] = "svcca"

    variance: float = Field(
        default=0.99, gt=0, le=1, description="Which share of each layer's variance its principal components hold."
    )

    def options(self) -> Mapping[str, Any]:
        return {"variance": self.variance}
