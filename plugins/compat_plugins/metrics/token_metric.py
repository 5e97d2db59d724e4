"""What the metrics of next-token prediction have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from compat_spec.components import Evaluation, ExampleScore, ModelMetric, Score

if TYPE_CHECKING:
    from torch import Tensor

    from compat_spec.nn.evaluation import TokenScores


class TokenMetric(ModelMetric):
    """A number about the scored tokens of a split; several such metrics of a network cost one pass over the split."""

    tokens: int | None = Field(
        default=None, ge=1, description="Read about so many tokens, from the split's beginning; all by default."
    )
    context: int | None = Field(
        default=None, ge=2, description="The longest sequence to read; by default what the network accepts, to 1,024."
    )

    @abstractmethod
    def value(self, scores: TokenScores) -> float:
        """The number."""

    def of_tokens(self, scores: TokenScores) -> Tensor | None:
        """The numbers of which it is the mean, one per token `[n]`; None when it is no mean."""
        return None

    def measure(self, evaluation: Evaluation) -> Sequence[Score]:
        scores = evaluation.token_scores(self.split, self.tokens, self.context)
        each = self.of_tokens(scores)
        found = () if each is None else zip(*(column.tolist() for column in scores.by_example(each)), strict=True)
        return [Score(self.value(scores), n=len(scores), examples=[ExampleScore(*row) for row in found])]
