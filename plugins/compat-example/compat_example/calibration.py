"""The metric `calibration`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from compat_spec.components import Evaluation, ModelMetric, Score

if TYPE_CHECKING:
    from torch import Tensor

    from compat_spec.nn.windows import Window


class Calibration(ModelMetric):
    """How far a network's confidence in its next token is from how often it is right: the expected calibration error.

    The scored tokens are sorted into bins by the probability of the network's first choice; the error is the mean
    difference between that probability and the share of right choices in a bin. Guo et al., "On Calibration of Modern
    Neural Networks", 2017, arXiv:1706.04599, equation 3.
    """

    quantity: ClassVar[str] = "calibration_error"
    higher_is_better: ClassVar[bool | None] = False

    bins: int = Field(default=15, ge=1, description="How many bins of equal width the probabilities are sorted into.")
    tokens: int | None = Field(
        default=None, ge=1, description="Read about so many tokens, from the split's beginning; all by default."
    )
    context: int | None = Field(
        default=None, ge=1, description="The longest sequence to read; by default what the network accepts, to 1,024."
    )

    def measure(self, evaluation: Evaluation) -> Sequence[Score]:
        import torch

        from compat_spec.nn.evaluation import inference
        from compat_spec.nn.windows import context_length, places_of, read_in_batches, scored_windows

        network, encoded = evaluation.network, evaluation.encoded(self.split)
        windows = scored_windows(encoded, self.tokens, context_length(network, self.context))
        confidence: list[Tensor] = []
        right: list[Tensor] = []

        def read(batch: Sequence[Window]) -> None:
            places, inside = places_of(batch)  # of the targets; a network reads what stands one place before
            places = places.clamp(max=len(encoded.ids) - 1)
            counted = inside & encoded.scored[places]
            logits = network.logits(encoded.ids[places - 1].to(evaluation.device, torch.int64))
            chosen = logits[counted.to(evaluation.device)].float().softmax(-1).max(-1)
            confidence.append(chosen.values.cpu())
            right.append(chosen.indices.cpu() == encoded.ids[places[counted]])
            evaluation.progress(sum(map(len, right)), int(encoded.scored.sum()))

        with inference(network.module):
            read_in_batches(windows, 4096, read)
        error = calibration_error(torch.cat(confidence), torch.cat(right), self.bins)
        return [Score(error, n=sum(map(len, right)))]


def calibration_error(confidence: Tensor, right: Tensor, bins: int) -> float:
    """The expected calibration error of choices.

    Args:
        confidence: the probability that was given to each choice, from 0 to 1 `[n]`.
        right: whether each was right `[n]`, bool.
        bins: how many bins of equal width there are; the upper edge belongs to a bin.
    """
    gap = confidence.double() - right.double()
    bin_of = (confidence.double() * bins).ceil().long().sub(1).clamp(0, bins - 1)
    return float(gap.new_zeros(bins).index_add(0, bin_of, gap).abs().sum() / len(gap))
