"""The `pwcca` metric."""

from __future__ import annotations

from typing import ClassVar

from compat_plugins.metrics.similarity_measure import SimilarityMeasure


class PWCCA(SimilarityMeasure):
    """Canonical correlations of two networks, weighted by what they account for in the first network's features.

    Morcos et al., "Insights on Representational Similarity in Neural Networks with Canonical Correlation", 2018,
    arXiv:1806.05759. Have many more tokens than the features of both: fewer always correlate.
    """

    quantity: ClassVar[str] = "pwcca"
