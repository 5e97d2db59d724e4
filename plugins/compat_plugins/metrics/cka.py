"""The `cka` metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from compat_spec.components import PairMetric
from compat_spec.errors import CompatError

if TYPE_CHECKING:
    from torch import Tensor


class CKA(PairMetric):
    """Linear centered kernel alignment of the features of two networks: 1 where they agree up to rotation and scale.

    Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019, arXiv:1905.00414; unbiased: with
    the estimator of HSIC of Song et al., "Feature Selection via Dependence Maximization", 2012.
    """

    quantity: ClassVar[str] = "cka"

    unbiased: bool = Field(
        default=False,
        description="Leave out each token's similarity to itself, which makes few tokens look alike in wide features.",
    )

    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        from compat_spec.nn.similarity import similarity

        if len(a[0]) < 4:
            raise CompatError(f"cka needs at least 4 tokens, and the split has {len(a[0])}")
        return similarity("cka", a, b, unbiased=self.unbiased)
