"""How routers spread the tokens of a split."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError

from compat_plugins.metrics.router_load import RouterLoad
from compat_spec.components import Example
from compat_spec.errors import CompatError
from compat_spec.nn.mixture import route
from compat_spec.nn.network import Network, seeded
from compat_spec.nn.routers import routers_of
from compat_spec.nn.routing_record import record_routing
from compat_spec.nn.token_classes import KINDS
from tests.builders import tiny_network

TEXT = [Example("", "It was the best of times, it was the worst of times."), Example("", "Call me Ishmael.")]
PROBLEMS = [Example("one and one is ", "two"), Example("ten less four is ", "six"), Example("5*5=", "25")]


def routed(**parameters: object) -> Network:
    network = tiny_network()
    with seeded(0):
        return Network(route([network] * 2, **parameters), network.tokenizer)


def test_load_of_each_expert_and_entropy_of_each_block(evaluate):
    network = routed(span=2, top_k=1)
    evaluation = evaluate(network, TEXT)
    scores = RouterLoad(classes=False).measure(evaluation)
    ids = evaluation.encoded("test").ids
    with torch.no_grad(), record_routing(network.module) as record:
        for part in ids[:-1].split(64):
            network.logits(part[None].long())
    load = {(score.block, score.expert): score.value for score in scores if score.quantity == "load"}
    choice = {(score.block, score.expert): score.value for score in scores if score.quantity == "choice"}
    agreement = {(s.block, s.other_block): s.value for s in scores if s.quantity == "agreement"}
    entropy = {score.block: score.value for score in scores if score.quantity == "entropy"}
    assert len(scores) == len(load) + len(choice) + len(entropy) + len(agreement) == 2 * 3 * 4 + 3 + 3
    for block in range(3):
        found = [load[block, expert] for expert in range(4)]
        assert found == pytest.approx(record.probability[block].tolist(), abs=1e-6)
        assert sum(found) == pytest.approx(1, abs=1e-6)
        assert entropy[block] == pytest.approx(float(record.entropy[block]), abs=1e-6)
        assert 0 < entropy[block] < math.log(4)
        assert [choice[block, expert] for expert in range(4)] == record.choice[block].tolist()
    assert agreement == {(a, b): float(record.agreement[a, b]) for a, b in ((0, 1), (0, 2), (1, 2))}
    assert {score.n for score in scores} == {len(ids) - 1}
    assert RouterLoad.quantity == "load"


def test_windows_of_unlike_lengths_count_each_token_once(evaluate):
    network = routed()
    evaluation = evaluate(network, PROBLEMS, score="answer")
    scores = RouterLoad(context=22).measure(evaluation)
    encoded = evaluation.encoded("test")
    starts = [1, *encoded.offsets[1:].tolist()]
    with torch.no_grad(), record_routing(network.module) as record:
        for start, stop in pairwise(starts):
            network.logits(encoded.ids[start - 1 : stop - 1][None].long())
    assert {s.n for s in scores if s.token_class is None} == {record.tokens} == {len(encoded.ids) - 1}
    found = [score.value for score in scores if score.quantity == "load"]
    assert found == pytest.approx(record.probability.flatten().tolist(), abs=1e-6)


def test_loads_of_classes_are_those_of_their_tokens(evaluate):
    network = routed()
    evaluation = evaluate(network, PROBLEMS, score="answer")
    scores = RouterLoad().measure(evaluation)
    encoded = evaluation.encoded("test")
    with torch.no_grad():
        said: list[torch.Tensor] = []
        router = routers_of(network.module)[1]
        handle = router.register_forward_hook(lambda _, __, output: said.append(output))
        network.logits(encoded.ids[None, :-1].long())
        handle.remove()
    text = network.tokenizer.decode(encoded.ids[:-1].tolist()).replace("<|endoftext|>", "$")
    (probabilities,) = said[0].tolist()
    digits = [p for p, character in zip(probabilities, text, strict=True) if character.isdigit()]
    load = [s for s in scores if s.quantity == "class_load" and s.token_class == "digits" and s.block == 1]
    assert [s.value for s in load] == pytest.approx([sum(p[e] for p in digits) / len(digits) for e in (0, 1)], abs=1e-6)
    assert {s.n for s in load} == {len(digits)}
    entropy = [s.value for s in scores if s.quantity == "class_entropy" and s.token_class == "digits" and s.block == 1]
    assert entropy == pytest.approx([-sum(p * math.log(p) for one in digits for p in one) / len(digits)], abs=1e-6)
    answers = {s.n for s in scores if s.token_class == "answer"}
    assert answers == {len("two$six$25$") - 1}
    total = {s.token_class: s.n for s in scores if s.quantity == "class_entropy" and s.block == 0}
    assert total["prompt"] + total["answer"] == sum(total[kind] for kind in total if kind in KINDS) == len(text)


def test_a_router_that_does_not_choose_has_the_entropy_of_all_its_experts(evaluate):
    network = routed()
    for parameter in network.module.parameters():
        if parameter.requires_grad:
            torch.nn.init.zeros_(parameter)
    scores = RouterLoad().measure(evaluate(network, TEXT))
    expected = {"load": 0.5, "class_load": 0.5, "entropy": math.log(2), "class_entropy": math.log(2), "agreement": 1.0}
    found = [score for score in scores if score.quantity != "choice"]
    assert {score.quantity for score in found} == expected.keys()
    assert [score.value for score in found] == pytest.approx([expected[score.quantity] for score in found])


def test_only_so_many_tokens_are_read(evaluate):
    scores = RouterLoad(tokens=10, context=4).measure(evaluate(routed(), TEXT))
    assert {score.n for score in scores if score.token_class is None} == {10}


def test_a_batch_that_is_too_much_for_the_memory_is_not_counted_twice(evaluate, monkeypatch):
    network = routed()
    whole = RouterLoad(context=8).measure(evaluate(network, TEXT))
    head = network.module.lm_head
    plain = head.forward

    def sometimes(x):
        if len(x) > 3:
            raise torch.OutOfMemoryError("too much")
        return plain(x)

    monkeypatch.setattr(head, "forward", sometimes)
    halved = RouterLoad(context=8).measure(evaluate(network, TEXT))
    assert [score.n for score in halved] == [score.n for score in whole]
    assert [score.value for score in halved] == pytest.approx([score.value for score in whole], abs=1e-6)


def test_it_is_for_routed_networks(evaluate):
    assert RouterLoad.applies_to == "routed"
    with pytest.raises(CompatError, match="has no routers"):
        RouterLoad().measure(evaluate(tiny_network(), TEXT))


@pytest.mark.parametrize("wrong", [{"tokens": 0}, {"context": 1}, {"on": "x"}])
def test_parameters_without_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        RouterLoad(**wrong)
