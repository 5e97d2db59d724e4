"""The `perplexity` metric."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from compat_plugins.metrics.token_metric import TokenMetric

if TYPE_CHECKING:
    from compat_spec.nn.evaluation import TokenScores


class Perplexity(TokenMetric):
    """e to the power of the mean loss of the scored tokens: among how many tokens the network wavers.

    It is per token of the network's own tokenizer, so compare networks that share one.
    """

    quantity: ClassVar[str] = "perplexity"
    higher_is_better: ClassVar[bool | None] = False

    def value(self, scores: TokenScores) -> float:
        try:
            return math.exp(scores.mean_loss)
        except OverflowError:
            return math.inf
