"""The share of prompts that a network answers as its task wants."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compat_plugins.metrics.answer_accuracy import AnswerAccuracy
from compat_plugins.trainers.finetune import Finetune
from compat_spec.components import Example, TaskName
from compat_spec.errors import CompatError
from compat_spec.nn.network import Network, seeded
from tests.builders import byte_tokenizer, tiny_network, undisturbed_session

END = 256


class Echo(nn.Module):
    """Says again what stands before the `=` sign, then ends; it never answers in digits."""

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> object:
        equals, *_ = byte_tokenizer()("=")["input_ids"]
        digits = set(byte_tokenizer()("0123456789")["input_ids"])
        following = torch.full_like(input_ids, END)
        for row, text in zip(following, input_ids.tolist(), strict=True):
            for place in range(len(text)):
                if equals in text[: place + 1]:
                    start = text.index(equals)
                    said = place - start + 1  # the first token is the end of the text before
                    if said < start and text[said] not in digits:
                        row[place] = text[said]
        return type("Output", (), {"logits": nn.functional.one_hot(following, 257).float()})


def test_the_share_of_answers_that_the_task_accepts(evaluate):
    examples = [Example("cat=", "cat"), Example("doggy=", "doggy"), Example("17=", "17"), Example("me=", "you")]
    (score,) = AnswerAccuracy().measure(evaluate(Network(Echo(), byte_tokenizer()), examples, score="answer"))
    assert (score.value, score.n) == (0.5, 4)
    assert score.examples == [(0, 1.0, 1.0), (1, 1.0, 1.0), (2, 0.0, 1.0), (3, 0.0, 1.0)]


@pytest.mark.parametrize(("wanted", "value"), [(1, 1.0), (2, 0.5), (4, 0.5), (5, 3 / 5), (8, 0.5), (100, 0.5)])
def test_examples_are_evenly_spaced(evaluate, wanted, value):
    # only the first half can be echoed
    examples = [Example(f"{c}=", c) for c in "abcd"] + [Example(f"{c}=", c) for c in "1234"]
    evaluation = evaluate(Network(Echo(), byte_tokenizer()), examples, score="answer")
    (score,) = AnswerAccuracy(examples=wanted).measure(evaluation)
    assert score.value == pytest.approx(value)
    assert score.n == min(wanted, 8)
    assert [(example.example < 4) == (example.value == 1) for example in score.examples] == [True] * score.n


def test_an_answer_longer_than_allowed_is_cut_and_wrong(evaluate):
    evaluation = evaluate(Network(Echo(), byte_tokenizer()), [Example("elephant=", "elephant")], score="answer")
    assert AnswerAccuracy(max_new_tokens=8).measure(evaluation)[0].value == 1
    assert AnswerAccuracy(max_new_tokens=7).measure(evaluation)[0].value == 0


@pytest.mark.parametrize("score", ["answer", "all"])
def test_a_network_that_the_trainer_taught_its_answers_gives_them(evaluate, tmp_path, score):
    examples = [Example(f"capital {i}: ", f"city {i * 7}") for i in range(6)]
    with seeded(0):
        network = tiny_network(width=32, blocks=2)
        evaluation = evaluate(network, examples, score=score)
        assert AnswerAccuracy(max_new_tokens=12).measure(evaluation)[0].value == 0
        trainer = Finetune.model_validate({"on": "capitals", "steps": 400, "lr": 1e-2, "context": 48})
        trainer.train(network, {TaskName("capitals"): evaluation.encoded("test")}, undisturbed_session(tmp_path))
    assert AnswerAccuracy(max_new_tokens=12).measure(evaluation)[0].value == 1


def test_a_task_without_prompts_is_an_error_that_says_what_to_measure(evaluate):
    evaluation = evaluate(tiny_network(), [Example("", "Once upon a time.")])
    with pytest.raises(CompatError, match="this task has none: measure `cross_entropy` or `token_accuracy`"):
        AnswerAccuracy().measure(evaluation)
