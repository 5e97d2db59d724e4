"""The `cross_entropy` metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from compat_plugins.metrics.token_metric import TokenMetric

if TYPE_CHECKING:
    from torch import Tensor

    from compat_spec.nn.evaluation import TokenScores


class CrossEntropy(TokenMetric):
    """The mean loss of the scored tokens, in nats: minus the log-probability of each, given those before it.

    Where the task scores answers only, so does this; the first token of a split, which has none before it, is left out.
    """

    version: ClassVar[str] = "2"
    quantity: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool | None] = False

    def value(self, scores: TokenScores) -> float:
        return scores.mean_loss

    def of_tokens(self, scores: TokenScores) -> Tensor:
        return scores.loss
