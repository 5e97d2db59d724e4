"""Loss, perplexity and accuracy of the scored tokens."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from compat_plugins.metrics.cross_entropy import CrossEntropy
from compat_plugins.metrics.perplexity import Perplexity
from compat_plugins.metrics.token_accuracy import TokenAccuracy
from compat_spec.components import Example
from compat_spec.nn.network import Network
from tests.builders import byte_tokenizer, tiny_network

TEXT = [Example("", "The king had a dog."), Example("", "So did the queen.")]
PROBLEMS = [Example("2+2=", "4"), Example("10-3=", "7")]


class Equal(nn.Module):
    """Thinks that every token is as likely as another, but the letter `a` by a little."""

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> object:
        logits = torch.zeros(*input_ids.shape, 257)
        logits[..., byte_tokenizer()("a")["input_ids"][0]] = 1e-6
        return type("Output", (), {"logits": logits})


def test_a_network_that_knows_nothing_wavers_among_the_whole_vocabulary(evaluate):
    evaluation = evaluate(Network(Equal(), byte_tokenizer()), [Example("", "banana!")])
    (loss,) = CrossEntropy().measure(evaluation)
    (perplexity,) = Perplexity().measure(evaluation)
    (accuracy,) = TokenAccuracy().measure(evaluation)
    assert loss.value == pytest.approx(math.log(257), rel=1e-6)
    assert perplexity.value == pytest.approx(257, rel=1e-5)
    # of "anana!" and the end of text, as the first letter is not predicted
    assert accuracy.value == pytest.approx(3 / 7)
    assert loss.n == perplexity.n == accuracy.n == 7


def test_loss_and_accuracy_are_means_over_tokens(evaluate):
    evaluation = evaluate(tiny_network(), TEXT)
    ids = evaluation.encoded("test").ids.long()
    with torch.no_grad():
        logits = evaluation.network.logits(ids[None, :-1])[0].double()
    expected = nn.functional.cross_entropy(logits, ids[1:])
    (loss,) = CrossEntropy().measure(evaluation)
    (accuracy,) = TokenAccuracy().measure(evaluation)
    assert loss.value == pytest.approx(float(expected), abs=1e-6)
    assert accuracy.value == float((logits.argmax(-1) == ids[1:]).double().mean())
    assert loss.n == len(ids) - 1


def test_answers_alone_count_where_the_task_says_so(evaluate):
    (score,) = CrossEntropy().measure(evaluate(tiny_network(), PROBLEMS, score="answer"))
    assert score.n == sum(len(example.answer) + 1 for example in PROBLEMS)


@pytest.mark.parametrize("score", ["answer", "all"])
@pytest.mark.parametrize("metric", [CrossEntropy, TokenAccuracy])
def test_the_value_is_the_weighted_mean_of_its_examples(evaluate, metric, score):
    (found,) = metric().measure(evaluate(tiny_network(), PROBLEMS * 3 + TEXT, score=score))
    examples, values, weights = zip(*found.examples, strict=True)
    assert examples == tuple(range(8))
    assert sum(weights) == found.n
    assert sum(w * x for w, x in zip(weights, values, strict=True)) / found.n == pytest.approx(found.value, rel=1e-12)


def test_an_example_has_the_mean_loss_of_its_tokens(evaluate):
    evaluation = evaluate(tiny_network(), PROBLEMS, score="answer")
    scores = evaluation.token_scores("test", None, None)
    (found,) = CrossEntropy().measure(evaluation)
    assert [tuple(example) for example in found.examples] == [
        (i, pytest.approx(float(scores.loss[scores.sequence == i].double().mean())), len(PROBLEMS[i].answer) + 1)
        for i in range(2)
    ]


def test_only_examples_that_were_read_are_among_them(evaluate):
    (found,) = CrossEntropy(tokens=10).measure(evaluate(tiny_network(), TEXT))
    assert [tuple(example)[::2] for example in found.examples] == [(0, 10)]


def test_a_perplexity_is_no_mean(evaluate):
    assert Perplexity().measure(evaluate(tiny_network(), TEXT))[0].examples == []


@pytest.mark.parametrize("metric", [CrossEntropy, Perplexity, TokenAccuracy])
def test_tokens_and_context_are_passed_on(evaluate, metric):
    evaluation = evaluate(tiny_network(), TEXT)
    (few,) = metric(tokens=10).measure(evaluation)
    assert few.n == 10
    (short,) = metric(tokens=30, context=4).measure(evaluation)
    (long,) = metric(tokens=30).measure(evaluation)
    assert short.n == long.n == 30
    if metric is not TokenAccuracy:
        assert short.value != long.value


def test_a_loss_beyond_measure_has_an_infinite_perplexity(evaluate):
    class Wrong(Equal):
        def forward(self, input_ids: Tensor, use_cache: bool = False) -> object:
            output = super().forward(input_ids)
            output.logits[..., 0] = 1e5
            return output

    (score,) = Perplexity().measure(evaluate(Network(Wrong(), byte_tokenizer()), TEXT))
    assert score.value == math.inf


def test_which_way_is_better():
    assert [CrossEntropy.higher_is_better, Perplexity.higher_is_better, TokenAccuracy.higher_is_better] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("wrong", [{"tokens": 0}, {"context": 1}, {"token": 5}])
def test_parameters_without_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        CrossEntropy(**wrong)
