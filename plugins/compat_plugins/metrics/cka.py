"""The `cka` metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from compat_plugins.metrics.similarity_measure import SimilarityMeasure


class CKA(SimilarityMeasure):
    """Centered kernel alignment of the features of two networks: 1 where they agree up to rotation and scale.

    Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019, arXiv:1905.00414; unbiased: with
    the estimator of HSIC of Song et al., "Feature Selection via Dependence Maximization", 2012; by minibatch: Nguyen et
    al., "Do Wide and Deep Networks Learn the Same Things?", 2021, arXiv:2010.15327.
    """

    quantity: ClassVar[str] = "cka"

    version: ClassVar[str] = "2"

    kernel: Literal["linear", "rbf"] = Field(
        default="linear", description="How alike two tokens are: by inner products, or by a Gaussian of the distance."
    )
    sigma: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="The width of the rbf kernel, as a multiple of the median distance between two tokens.",
    )
    unbiased: bool = Field(
        default=False,
        description="Leave out each token's similarity to itself, which makes few tokens look alike in wide features.",
    )
    batch_size: int | None = Field(
        default=None,
        ge=4,
        description="Compare tokens within batches of so many only, by unbiased HSIC; null compares all with all.",
    )

    def options(self) -> Mapping[str, Any]:
        return {
            "kernel": self.kernel,
            "sigma": self.sigma,
            "unbiased": self.unbiased,
            "batch_size": self.batch_size,
        }
