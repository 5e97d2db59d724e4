"""The `token_accuracy` metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from compat_plugins.metrics.token_metric import TokenMetric

if TYPE_CHECKING:
    from torch import Tensor

    from compat_spec.nn.evaluation import TokenScores


class TokenAccuracy(TokenMetric):
    """The share of scored tokens that are the network's most probable token, given the true tokens before them."""

    version: ClassVar[str] = "2"
    quantity: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool | None] = True

    def value(self, scores: TokenScores) -> float:
        return scores.accuracy

    def of_tokens(self, scores: TokenScores) -> Tensor:
        return scores.correct
