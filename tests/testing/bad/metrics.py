"""Metrics that break their contract, each in one way."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from compat_spec.components import (
    Comparison,
    Evaluation,
    LayerMetric,
    LayerScores,
    ModelMetric,
    PairMetric,
    Score,
)
from tests.testing.bad.case import Bad


class Loss(ModelMetric):
    """The mean loss."""

    quantity: ClassVar[str] = "loss"

    def measure(self, evaluation: Evaluation) -> Sequence[Score]:
        scores = evaluation.token_scores(self.split, None, None)
        return [Score(scores.mean_loss)]


class Mute(Loss):
    def measure(self, evaluation: Evaluation) -> Sequence[Score]:
        return []


class Infinite(Loss):
    def measure(self, evaluation: Evaluation) -> Sequence[Score]:
        return [Score(float("nan"))]


class Wordy(Loss):
    quantity: ClassVar[str] = "the mean loss"


class Dicing(Loss):
    def measure(self, evaluation: Evaluation) -> Sequence[Score]:
        return [Score(random.random())]


class Pruning(Loss):
    def measure(self, evaluation: Evaluation) -> Sequence[Score]:
        next(evaluation.network.module.parameters()).data.mul_(0.9)
        return super().measure(evaluation)


class Depths(LayerMetric):
    """How far apart two layers are in depth."""

    quantity: ClassVar[str] = "distance"

    def measure(self, comparison: Comparison) -> LayerScores:
        a, b = (len(network.anatomy.blocks) for network in (comparison.a, comparison.b))
        return LayerScores((torch.arange(a)[:, None] - torch.arange(b)).abs().float(), n=1)


class WordyDepths(Depths):
    quantity: ClassVar[str] = "how far"


class Square(Depths):
    def measure(self, comparison: Comparison) -> LayerScores:
        return LayerScores(super().measure(comparison).values[:2], n=1)


class DicingDepths(Depths):
    def measure(self, comparison: Comparison) -> LayerScores:
        return LayerScores(super().measure(comparison).values + random.random(), n=1)


class PruningDepths(Depths):
    def measure(self, comparison: Comparison) -> LayerScores:
        next(comparison.b.module.parameters()).data.mul_(0.9)
        return super().measure(comparison)


class Overlap(PairMetric):
    """The cosine of the rows' similarities."""

    quantity: ClassVar[str] = "overlap"

    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        left, right = (torch.stack([(one @ one.T).flatten() for one in side]) for side in (a, b))
        return torch.cosine_similarity(left[:, None], right[None], dim=-1)


class OneWidth(Overlap):
    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        left, right = (torch.stack([one.flatten() for one in side]) for side in (a, b))
        return torch.cosine_similarity(left[:, None], right[None], dim=-1)


class Centring(Overlap):
    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        for one in a:
            one -= one.mean(0)
        return super().compare(a, b)


class Backwards(Overlap):
    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        found: Any = super().compare(a, b)
        return found.flip(1)  # type: ignore[no-any-return]


BAD = [
    Bad(Mute, "gives_scores", "It gives no score"),
    Bad(Infinite, "gives_scores", "a score is a finite float"),
    Bad(Wordy, "says_what_it_measures", "say in a word what it measures"),
    Bad(Dicing, "measures_the_same_again", "the scores are others"),
    Bad(Pruning, "leaves_the_network_unchanged", "Measuring changed 2 tensors"),
    Bad(WordyDepths, "says_what_it_measures", "say in a word what it measures"),
    Bad(Square, "gives_a_number_for_each_pair", "have to be [3, 2]"),
    Bad(DicingDepths, "compares_the_same_again", "the values are others"),
    Bad(PruningDepths, "leaves_the_networks_unchanged", "of network b"),
    Bad(OneWidth, "compares_any_features", "OneWidth raised RuntimeError"),
    Bad(Centring, "leaves_features_unchanged", "changed features in place"),
    Bad(Backwards, "finds_a_layer_most_like_itself", "more like another one than like itself"),
]
