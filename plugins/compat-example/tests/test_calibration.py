"""`calibration` keeps the contract of metrics, and its error is the one that a loop over bins finds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compat_example.calibration import Calibration, calibration_error
from compat_spec.components import Example
from compat_spec.testing import InMemoryEvaluation, InMemoryTask, contract, tiny_network

test_contract = contract(Calibration)


def by_hand(confidence: list[float], right: list[bool], bins: int) -> float:
    error = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [i for i, value in enumerate(confidence) if low < value <= high]
        if inside:
            sure = sum(confidence[i] for i in inside) / len(inside)
            share = sum(right[i] for i in inside) / len(inside)
            error += len(inside) / len(confidence) * abs(sure - share)
    return error


@pytest.mark.parametrize("bins", [1, 2, 15])
def test_it_is_what_a_loop_over_the_bins_finds(bins: int) -> None:
    generator = torch.Generator().manual_seed(3)
    confidence = torch.rand(101, generator=generator, dtype=torch.float64)
    right = torch.rand(101, generator=generator) < 0.4
    expected = by_hand(confidence.tolist(), right.tolist(), bins)
    assert calibration_error(confidence, right, bins) == pytest.approx(expected, rel=1e-12)


def test_who_is_sure_and_right_makes_no_error_and_who_is_sure_and_wrong_the_largest() -> None:
    sure = torch.ones(4)
    assert calibration_error(sure, torch.ones(4, dtype=torch.bool), 10) == 0
    assert calibration_error(sure, torch.zeros(4, dtype=torch.bool), 10) == 1


@pytest.mark.parametrize("score", ["all", "answer"])
def test_it_counts_the_scored_tokens_that_accuracy_counts(score: str) -> None:
    examples = [Example(f"{n} + 1 = ", f"{n + 1}, of course\n") for n in range(9)]
    task = InMemoryTask.model_validate({"given": examples, "score": score})
    evaluation = InMemoryEvaluation(tiny_network(), task)
    (found,) = Calibration(bins=1).measure(evaluation)
    scores = evaluation.token_scores("test", None, None)
    assert found.n == len(scores)
    # in a single bin the error is the distance between the mean confidence and the accuracy
    assert found.value == pytest.approx(abs(mean_confidence(evaluation) - scores.accuracy), abs=1e-6)


def mean_confidence(evaluation: InMemoryEvaluation) -> float:
    """Of the scored tokens, each read with all that the window has before it, by a plain loop."""
    from compat_spec.nn.windows import evaluation_windows

    encoded, network = evaluation.encoded("test"), evaluation.network
    found: list[Tensor] = []
    for window in evaluation_windows(encoded, None, network.context or 64):
        ids = encoded.ids[window.start - 1 : window.stop - 1].long()[None]
        with torch.no_grad():
            probabilities = network.logits(ids)[0].softmax(-1)
        found += probabilities.amax(-1)[encoded.scored[window.start : window.stop]].unbind()
    return float(torch.stack(found).mean())
