"""The `rsa` metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from compat_plugins.metrics.similarity_measure import SimilarityMeasure


class RSA(SimilarityMeasure):
    """Representational similarity analysis: how dissimilarities of tokens in two networks correlate.

    Kriegeskorte et al., "Representational Similarity Analysis: Connecting the Branches of Systems Neuroscience", 2008,
    doi:10.3389/neuro.06.004.2008.
    """

    quantity: ClassVar[str] = "rsa"

    dissimilarity: Literal["correlation", "cosine", "euclidean"] = Field(
        default="correlation",
        description="Of two tokens: 1 less Pearson's correlation over features, 1 less the cosine, or the distance.",
    )
    correlation: Literal["spearman", "pearson"] = Field(
        default="spearman", description="Of the dissimilarities: of their ranks, or of themselves."
    )

    def options(self) -> Mapping[str, Any]:
        return {"dissimilarity": self.dissimilarity, "correlation": self.correlation}
