"""The `cknna` metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from compat_plugins.metrics.similarity_measure import SimilarityMeasure


class CKNNA(SimilarityMeasure):
    """Centered kernel nearest-neighbour alignment: CKA of the tokens that are neighbours in both networks.

    Huh et al., "The Platonic Representation Hypothesis", 2024, arXiv:2405.07987. Neighbours are the tokens with the
    largest inner products of features as they are, which are the kernel, too; HSIC is unbiased.
    """

    quantity: ClassVar[str] = "cknna"

    k: int = Field(default=10, ge=1, description="How many neighbours of each token; fewer than there are others.")

    def options(self) -> Mapping[str, Any]:
        return {"k": self.k}
