"""The `procrustes` metric."""

from __future__ import annotations

from typing import ClassVar

from compat_plugins.metrics.similarity_measure import SimilarityMeasure


class Procrustes(SimilarityMeasure):
    """How well the features of two networks fit on each other by the best rotation: 1 where they do exactly.

    The nuclear norm of X'Y over the Frobenius norms of X and Y, means taken off: Ding et al., "Grounding Representation
    Similarity with Statistical Testing", 2021, arXiv:2108.01661; Williams et al., "Generalized Shape Metrics on Neural
    Representations", 2021, arXiv:2110.14739.
    """

    quantity: ClassVar[str] = "procrustes"
