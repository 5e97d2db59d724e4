"""The average of those models that do a task no harm."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from compat_plugins.merges.greedy_soup import GreedySoup
from compat_spec.nn.evaluation import token_scores
from compat_spec.nn.network import Network
from tests.builders import tiny_network
from tests.plugins.merges.studies import MadeUpStudy, checkpoint, merged, text

TASK = text("the quick brown fox jumps over the lazy dog")


def soup(count: int, **parameters: object) -> GreedySoup:
    names = [f"m{i}" for i in range(count)]
    return GreedySoup.model_validate({"models": names, "on": "task", "context": 16, **parameters})


def moved(by: dict[str, float], dtype: torch.dtype = torch.float32) -> Network:
    """A network whose head says one thing whatever it reads: the logit of each letter, from a bias of its last norm."""
    network = tiny_network("gpt2", blocks=1, width=8, dtype=dtype, tie_word_embeddings=False)
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.zero_()
        network.module.transformer.ln_f.bias[0] = 1
        letters = network.tokenizer.get_vocab()
        for letter, logit in by.items():
            network.module.lm_head.weight[letters[letter], 0] = logit
    return network


# logits are parameters of such a network, so that averaging networks averages their logits
ABAB = text("ab" * 20)


def choice(networks: list[Network], task=ABAB) -> tuple[list[str], dict[str, Tensor]]:
    study = MadeUpStudy(networks, {"task": task})
    result = merged(soup(len(networks)), study, len(networks))
    assert study.told == sorted(study.told)
    assert study.told[-1][0] <= study.told[-1][1]
    return study.recorded["chosen"], result


def averaged(networks: list[Network], chosen: list[int]) -> dict[str, Tensor]:
    models = [checkpoint(networks[i]) for i in chosen]
    return {name: torch.stack([model[name].double() for model in models]).mean(0) for name in models[0]}


def test_models_that_complement_each_other_are_averaged_and_one_that_harms_is_left_out():
    good, other, harm = moved({"a": 6.0, "b": 2.0}), moved({"a": 1.0, "b": 5.0}), moved({"x": 9.0})
    networks = [harm, other, good]
    chosen, result = choice(networks)
    # the best alone first, then what makes it even
    assert sorted(chosen) == ["m1", "m2"]
    expected = averaged(networks, [1, 2])
    assert result.keys() == expected.keys()
    for name, tensor in result.items():
        torch.testing.assert_close(tensor.double(), expected[name])


def test_the_best_model_comes_first_and_stays_alone_when_nothing_helps():
    networks = [moved({"a": 3.0, "b": 3.0}), moved({"a": 9.0, "b": 9.0}), moved({})]
    chosen, result = choice(networks)
    assert chosen == ["m1"]
    assert all(tensor.equal(result[name]) for name, tensor in checkpoint(networks[1]).items())


def test_a_model_that_changes_nothing_is_taken():
    same = moved({"a": 3.0, "b": 3.0})
    chosen, result = choice([same, same, moved({"x": 1.0})])
    assert chosen == ["m0", "m1"]
    assert all(tensor.equal(result[name]) for name, tensor in checkpoint(same).items())


def test_models_are_tried_in_the_order_of_their_losses_each_with_those_chosen_before():
    best, worst, second = ({"a": 8.0, "b": 3.0}, {"a": 1.0, "b": 8.0}, {"a": 2.0, "b": 7.9})
    assert loss(moved(best)) < loss(moved(second)) < loss(moved(worst))
    alone = {"a": 4.5, "b": 5.5}  # the best and the worst
    assert loss(moved(alone)) < loss(moved(best)), "it would be taken if it were tried earlier, or without the second"
    chosen, _ = choice([moved(best), moved(worst), moved(second)])
    assert chosen == ["m0", "m2"]


def loss(network: Network) -> float:
    return token_scores(network, ABAB, tokens=None, context=16, device="cpu").mean_loss


def test_what_is_told_of_the_choice_is_the_loss_of_the_soup_and_of_each_model():
    networks = [moved({"a": 6.0, "b": 2.0}), moved({"a": 1.0, "b": 5.0}), moved({"x": 9.0})]
    study = MadeUpStudy(networks, {"task": ABAB})
    soup(3).study(study)
    assert study.recorded["losses"] == pytest.approx([loss(network) for network in networks])
    assert study.recorded["loss"] == pytest.approx(loss(moved({"a": 3.5, "b": 3.5})))
    assert study.recorded["loss"] < min(study.recorded["losses"])


def test_a_model_whose_loss_is_not_a_number_is_never_taken():
    broken = moved({"a": float("nan")})
    chosen, _ = choice([broken, moved({"a": 3.0, "b": 3.0})])
    assert chosen == ["m1"]


def test_only_the_tokens_that_are_asked_for_decide():
    networks = [moved({"a": 9.0}), moved({"b": 9.0})]
    task = text("a" * 10 + "b" * 40)
    few, all_of_them = MadeUpStudy(networks, {"task": task}), MadeUpStudy(networks, {"task": task})
    soup(2, tokens=8).study(few)
    soup(2).study(all_of_them)
    assert few.recorded["chosen"] == ["m0"]
    assert all_of_them.recorded["chosen"][0] == "m1"


def test_the_models_are_left_as_they_are():
    networks = [moved({"a": 6.0, "b": 2.0}, torch.bfloat16), moved({"a": 1.0, "b": 5.0}, torch.bfloat16)]
    before = [{name: tensor.clone() for name, tensor in checkpoint(network).items()} for network in networks]
    _, result = choice(networks)
    assert {tensor.dtype for tensor in result.values()} == {torch.bfloat16}
    for network, was in zip(networks, before, strict=True):
        assert all(tensor.equal(was[name]) for name, tensor in checkpoint(network).items())


def test_a_model_alone_is_the_result():
    network = tiny_network("qwen3", blocks=1, width=8)
    study = MadeUpStudy([network], {"task": TASK})
    result = merged(soup(1), study, 1)
    assert all(tensor.equal(result[name]) for name, tensor in checkpoint(network).items())
    assert math.isfinite(study.recorded["loss"])


@pytest.mark.parametrize("wrong", [{"on": None}, {"on": ["a", "b"]}, {"tokens": 0}, {"context": 1}, {"splt": "test"}])
def test_parameters_without_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        soup(2, **wrong)
