"""The `mutual_knn` metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from compat_plugins.metrics.similarity_measure import SimilarityMeasure


class MutualKNN(SimilarityMeasure):
    """The share of each token's nearest neighbours that are so in both networks.

    Huh et al., "The Platonic Representation Hypothesis", 2024, arXiv:2405.07987. Neighbours are the tokens with the
    largest inner products of features as they are; unrelated features share k / (tokens - 1) of them.
    """

    quantity: ClassVar[str] = "mutual_knn"

    k: int = Field(default=10, ge=1, description="How many neighbours of each token; fewer than there are others.")

    def options(self) -> Mapping[str, Any]:
        return {"k": self.k}
