"""The parameters of the routing merge; what it computes is tested with the mixtures."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from compat_plugins.merges.routing import Routing
from compat_spec.components import ModelName
from compat_spec.errors import CompatError
from compat_spec.nn.network import Network, seeded
from compat_spec.nn.routers import routers_of
from compat_spec.nn.routing_record import record_routing
from tests.builders import tiny_network

IDS = torch.arange(30).view(2, 15)


def test_every_parameter_reaches_the_network():
    network = tiny_network()
    merge = Routing.model_validate({"models": ["a", "a"], "router": "shared", "span": 2, "top_k": 3})
    routed = merge.build([network] * 2, None)
    with record_routing(routed) as record:
        output = Network(routed, network.tokenizer).logits(IDS)
    assert output.shape == (2, 15, 257)
    assert record.probability.shape == (3, 4)
    assert record.probability[1].equal(record.probability[0])
    assert [part.mlp.choice.top_k for part in routed.transformer.h] == [3] * 3
    assert len(routers_of(routed)) == 3


def test_models_with_attentions_of_their_own_need_a_trunk():
    a, b = tiny_network(), tiny_network(seed=1)
    merge = Routing.model_validate({"models": ["a", "b"], "trunk": "a"})
    assert merge.trunk == ModelName("a")
    with pytest.raises(CompatError, match="trunk: base"):
        merge.build([a, b], None)
    with seeded(0):
        logits = Network(merge.build([a, b], a), a.tokenizer).logits(IDS)
    with seeded(0):
        assert not logits.equal(Network(merge.build([a, b], b), a.tokenizer).logits(IDS))


def test_what_the_engine_must_know():
    assert Routing.training == "needed"
    assert Routing.routed
    assert Routing.model_validate({"models": ["a"]}).uses_seed()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"top_k": 5, "span": 2}, "top_k: 5 is more than the 4 experts"),
        ({"top_k": 0}, "greater than or equal to 1"),
        ({"span": 0}, "greater than or equal to 1"),
        ({"router": "global"}, "'per_block', 'shared', 'previous' or 'sequence'"),
    ],
)
def test_parameters_without_sense_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        Routing.model_validate({"models": ["a", "b"]} | wrong)
    assert Routing.model_validate({"models": ["a", "b"], "top_k": 4, "span": 2}).top_k == 4
